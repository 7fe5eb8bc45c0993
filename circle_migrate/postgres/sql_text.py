"""Names as PostgreSQL prints them, and words of statements."""

from __future__ import annotations

import re

from circle_migrate.postgres.identifier import base_name, unquote

# All in one pass: what looks like a comment may stand in a literal, and a quote in a comment or a name.
_NOT_CODE = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<name>\"(?:[^\"]|\"\")*\")"
    r"|\b[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$",
    re.DOTALL,
)
_SELECT = re.compile(r"\s*SELECT\s+(?:DISTINCT\s+(?:ON\s+\([^()]*\)\s+)?)?")
_AFTER_TARGETS = frozenset({"FROM", "UNION", "INTERSECT", "EXCEPT", "WHERE", "ORDER", "LIMIT"})
_IDENTIFIERS = re.compile(r'"(?:[^"]|"")*"|[\w$]+')
_TARGET_WORD = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()\[\],;]|\b[A-Z]+\b")
_MOST_CHARACTERS = 200

Matcher = re.Pattern[str]


def matcher(pattern: str) -> Matcher:
    """A pattern for text of statements, whatever its case and lines."""
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


def own_name(identity: str) -> str:
    """The last part of a name, without quotes; without the arguments of a function."""
    return unquote(base_name(identity))


def says(sql: str, name: str) -> bool:
    """Whether the text has the name as a word."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql, re.IGNORECASE) is not None


def shortened(sql: str) -> str:
    """A statement in one line that can be shown."""
    line = " ".join(sql.split())
    return line if len(line) <= _MOST_CHARACTERS else line[: _MOST_CHARACTERS - 1] + "…"


def selected(definition: str) -> list[str]:
    """The columns of a view, as PostgreSQL prints its definition; none of one that begins with WITH."""
    first = _SELECT.match(definition)
    begin, depth = first.end() if first else len(definition), 0
    found: list[str] = []
    for match in _TARGET_WORD.finditer(definition, begin):
        word = match[0].upper()
        depth += (word in "([") - (word in ")]")
        if depth == 0 and (word in ",;" or word in _AFTER_TARGETS):
            found += _IDENTIFIERS.findall(definition[begin : match.start()])[-1:]  # what follows AS, if any
            begin = match.end()
            if word != ",":
                break
    return [own_name(name) for name in found]


def code(sql: str) -> str:
    """The statement without comments and without what is in literals."""
    return _NOT_CODE.sub(lambda match: " " if match["comment"] else match["name"] or "''", sql).strip()
