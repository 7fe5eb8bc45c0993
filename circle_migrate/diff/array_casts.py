"""Casts of array constructors, of which PostgreSQL prints two forms that mean the same.

`s IN ('a', 'b')` over varchar is kept, and printed, as a cast of an array: `(ARRAY['a', 'b'])::text[]`. Read
back, as from a dump, such a cast goes to the elements: `ARRAY[('a')::text, ('b')::text]`. That is a rule of
PostgreSQL's parser (transformTypeCast in its parse_expr.c), so that nobody has to be asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_PLACE = "\0{}\0"
_PLACES = re.compile("\0(\\d+)\0")
_TYPE = (
    r"(?:character varying|bit varying|double precision|(?:time|timestamp)(?:\(\d\))? with(?:out)? time zone"
    r"|[\w$.\0]+)(?:\(\d+(?:,-?\d+)?\))?"
)
# Not the argument of a function; without brackets inside, as what is nested is read before what is around it.
_CAST = re.compile(rf"(?<![\w$\0])\(ARRAY\[([^\[\]]+)\]\)::({_TYPE})\[\]")


def cast_elements(text: str) -> str:
    """An expression, or a statement that has some, with each cast of an array constructor at its elements."""
    quoted: list[str] = []

    def hide(match: re.Match[str]) -> str:
        quoted.append(match[0])
        return _PLACE.format(len(quoted) - 1)

    text, changes = _QUOTED.sub(hide, text), 1
    while changes:
        text, changes = _CAST.subn(_at_elements, text)
    return _PLACES.sub(lambda match: quoted[int(match[1])], text)


def _at_elements(match: re.Match[str]) -> str:
    return f"ARRAY[{', '.join(f'({element})::{match[2]}' for element in _elements(match[1]))}]"


def _elements(text: str) -> Iterator[str]:
    depth = start = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            yield text[start:place]
            start = place + 2
    yield text[start:]
