"""Python code as text: calls, strings, SQL within them."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What SQLAlchemy's text() takes for a parameter, and what for an escaped colon: sqlalchemy/sql/elements.py
# and compiler.py, BIND_PARAMS and BIND_PARAMS_ESC.
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w+(?!:))")
_ESCAPED = re.compile(r"\\(?=:[\w$]*(?![:\w$]))")

_WIDTH = 110


def text(sql: str) -> str:
    """SQL as text() gives it on as it was."""
    return _PARAMETER.sub(r"\\:", _ESCAPED.sub(r"\\\\", sql))


def string(value: str) -> str:
    """A string literal; in three quotes where it has lines, which keep their places."""
    escaped = "".join(_escaped(character) for character in value.replace("\\", "\\\\"))
    if "\n" not in value:
        return '"' + escaped.replace('"', '\\"') + '"'
    return (
        '"""' + escaped.replace('"', '\\"') + '"""'
        if '"""' in value or value.endswith('"')
        else f'"""{escaped}"""'
    )


def _escaped(character: str) -> str:
    return character if character == "\n" or character.isprintable() else ascii(character)[1:-1]


def execute(sql: str) -> str:
    """The call that runs SQL as it is."""
    return f"op.execute({string(text(sql))})"


def sql_text(sql: str) -> str:
    """An expression of SQL within another call."""
    return f"sa.text({string(text(sql))})"


def strings(values: Sequence[str]) -> str:
    """A list of strings."""
    return f"[{', '.join(map(string, values))}]"


def call(function: str, arguments: Sequence[str]) -> str:
    """A call on one line, or with an argument on each where that is too long."""
    line = f"{function}({', '.join(arguments)})"
    if len(line) < _WIDTH and not function.endswith("create_table"):
        return line
    return "\n".join([f"{function}(", *(f"    {argument}," for argument in arguments), ")"])


def indented(code: str, indent: str) -> str:
    """Code further to the right, but for the lines within a string."""
    if '"""' in code:
        return indent + code
    return "\n".join(indent + line for line in code.split("\n"))
