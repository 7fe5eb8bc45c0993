"""Write Python code: calls, string literals, SQL in string literals."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Bind parameters and escaped colons in SQLAlchemy's text(): sqlalchemy/sql/elements.py and compiler.py,
# BIND_PARAMS and BIND_PARAMS_ESC.
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w+(?!:))")
_ESCAPED = re.compile(r"\\(?=:[\w$]*(?![:\w$]))")

_WIDTH = 110


def text(sql: str) -> str:
    """Return SQL with the escapes that text() removes again."""
    return _PARAMETER.sub(r"\\:", _ESCAPED.sub(r"\\\\", sql))


def string(value: str) -> str:
    """Return a string literal; in triple quotes if it has several lines."""
    escaped = "".join(
        character if character == "\n" or character.isprintable() else ascii(character)[1:-1]
        for character in value.replace("\\", "\\\\")
    )
    quotes = '"""' if "\n" in value else '"'
    if quotes in value or value.endswith('"'):
        escaped = escaped.replace('"', '\\"')
    return f"{quotes}{escaped}{quotes}"


def execute(sql: str) -> str:
    """Return the `op.execute` call that runs SQL unchanged."""
    return f"op.execute({string(text(sql))})"


def sql_text(sql: str) -> str:
    """Return an `sa.text` call with an SQL expression."""
    return f"sa.text({string(text(sql))})"


def call(function: str, arguments: Sequence[str]) -> str:
    """Return a call in one line, or with one argument per line if that is too long."""
    line = f"{function}({', '.join(arguments)})"
    if len(line) < _WIDTH and not function.endswith("create_table"):
        return line
    return "\n".join([f"{function}(", *(f"    {argument}," for argument in arguments), ")"])


def indented(code: str, indent: str) -> str:
    """Return code with indentation; a multi-line string stays as it is."""
    if '"""' in code:
        return indent + code
    return "\n".join(indent + line for line in code.split("\n"))
