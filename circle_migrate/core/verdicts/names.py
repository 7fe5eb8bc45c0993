"""Names as PostgreSQL prints them, and words of statements."""

from __future__ import annotations

import re

_PART = re.compile(r'"(?:[^"]|"")*"|[^.]+')
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_DOLLARS = re.compile(r"\$(\w*)\$.*?\$\1\$", re.DOTALL)
_MOST_CHARACTERS = 200

Matcher = re.Pattern[str]


def matcher(pattern: str) -> Matcher:
    """A pattern for text of statements, whatever its case and lines."""
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


def own_name(identity: str) -> str:
    """The last part of a name, without quotes; without the arguments of a function."""
    name: str = _PART.findall(identity.partition("(")[0])[-1]
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def says(sql: str, name: str) -> bool:
    """Whether the text has the name as a word."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql, re.IGNORECASE) is not None


def shortened(sql: str) -> str:
    """A statement in one line that can be shown."""
    line = " ".join(sql.split())
    return line if len(line) <= _MOST_CHARACTERS else line[: _MOST_CHARACTERS - 1] + "…"


def code(sql: str) -> str:
    """The statement without comments and without what is in literals."""
    return _DOLLARS.sub("''", _LITERAL.sub("''", _COMMENT.sub(" ", sql))).strip()
