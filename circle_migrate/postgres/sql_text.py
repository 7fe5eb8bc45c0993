"""Text search in SQL statements and definitions."""

from __future__ import annotations

import re

from circle_migrate.postgres.identifier import base_name, unquote

# One pattern for all: a literal may contain what looks like a comment, and a comment may contain a quote.
_NOT_CODE = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<name>\"(?:[^\"]|\"\")*\")"
    r"|\b[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$",
    re.DOTALL,
)
_SELECT = re.compile(r"\s*SELECT\s+(?:DISTINCT\s+(?:ON\s+\([^()]*\)\s+)?)?")
_AFTER_TARGETS = frozenset({"FROM", "UNION", "INTERSECT", "EXCEPT", "WHERE", "ORDER", "LIMIT"})
_IDENTIFIERS = re.compile(r'"(?:[^"]|"")*"|[\w$]+')
_TARGET_WORD = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()\[\],;]|\b[A-Z]+\b")

Matcher = re.Pattern[str]


def compile_pattern(pattern: str) -> Matcher:
    """Compile a pattern for statements that ignores case and matches across lines."""
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


def own_name(identity: str) -> str:
    """Return the last part of an identity, without quotes and arguments."""
    return unquote(base_name(identity))


def mentions(sql: str, name: str) -> bool:
    """Return whether the text contains the name as a whole word."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql, re.IGNORECASE) is not None


def one_line(sql: str, limit: int = 200) -> str:
    """Return the statement in one line of at most `limit` characters."""
    line = " ".join(sql.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def view_columns(definition: str) -> list[str]:
    """Return the columns of a view from its printed definition; empty if the definition begins with WITH."""
    first = _SELECT.match(definition)
    begin, depth = first.end() if first else len(definition), 0
    columns: list[str] = []
    for match in _TARGET_WORD.finditer(definition, begin):
        word = match[0].upper()
        depth += (word in "([") - (word in ")]")
        if depth == 0 and (word in ",;" or word in _AFTER_TARGETS):
            columns += _IDENTIFIERS.findall(definition[begin : match.start()])[-1:]  # the alias, if any
            begin = match.end()
            if word != ",":
                break
    return [own_name(column) for column in columns]


def without_comments_and_literals(sql: str) -> str:
    """Return the statement without comments, and with empty literals."""
    return _NOT_CODE.sub(lambda match: " " if match["comment"] else match["name"] or "''", sql).strip()
