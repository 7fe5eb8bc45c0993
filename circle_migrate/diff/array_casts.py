"""Normalize casts of array constructors, which PostgreSQL prints in two equivalent forms.

`s IN ('a', 'b')` over varchar is stored and printed as a cast of an array: `(ARRAY['a', 'b'])::text[]`. When
this text is parsed, as from a dump, the cast moves to the elements: `ARRAY[('a')::text, ('b')::text]`
(transformTypeCast in PostgreSQL's parse_expr.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_PLACEHOLDER = "\0{}\0"
_PLACEHOLDERS = re.compile("\0(\\d+)\0")
_TYPE = (
    r"(?:character varying|bit varying|double precision|(?:time|timestamp)(?:\(\d\))? with(?:out)? time zone"
    r"|[\w$.\0]+)(?:\(\d+(?:,-?\d+)?\))?"
)
# Not a function argument; without brackets inside, so that nested arrays are replaced first.
_CAST = re.compile(rf"(?<![\w$\0])\(ARRAY\[([^\[\]]+)\]\)::({_TYPE})\[\]")


def cast_elements(text: str) -> str:
    """Return the text with the casts of array constructors moved to the elements."""
    quoted: list[str] = []

    def hide(match: re.Match[str]) -> str:
        quoted.append(match[0])
        return _PLACEHOLDER.format(len(quoted) - 1)

    text, count = _QUOTED.sub(hide, text), 1
    while count:
        text, count = _CAST.subn(_move_cast, text)
    return _PLACEHOLDERS.sub(lambda match: quoted[int(match[1])], text)


def _move_cast(match: re.Match[str]) -> str:
    return f"ARRAY[{', '.join(f'({element})::{match[2]}' for element in _elements(match[1]))}]"


def _elements(text: str) -> Iterator[str]:
    depth = start = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            yield text[start:position]
            start = position + 2
    yield text[start:]
