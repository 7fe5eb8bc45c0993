"""Text of SQL: its statements, found without a parser, and search in statements and definitions."""

import re
from collections.abc import Iterator
from functools import lru_cache

from circle_migrate.postgres.identifier import base_name, unquote

_SELECT = re.compile(r"\s*SELECT\s+(?:DISTINCT\s+(?:ON\s+\([^()]*\)\s+)?)?")
_AFTER_TARGETS = frozenset({"FROM", "UNION", "INTERSECT", "EXCEPT", "WHERE", "ORDER", "LIMIT"})
_IDENTIFIERS = re.compile(r'"(?:[^"]|"")*"|[\w$]+')
_TARGET_WORD = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()\[\],;]|\b[A-Z]+\b")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern for statements that ignores case and matches across lines."""
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


DEALLOCATES = compile_pattern(r"[\s(]*(?:DEALLOCATE|DISCARD|DO|SELECT|WITH|CALL|EXECUTE|VALUES)\b")
"""Statements that may deallocate prepared statements, perhaps in a function that they call."""


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


# One pattern for all: a literal may contain what looks like a comment, and a comment may contain a quote.
_QUOTED = (
    r"(?P<line>--[^\n]*+)|(?P<comment>/\*)|(?P<name>\"[^\"]*+\")"
    r"|(?<![\w$])[eE]'(?:[^'\\]|''|\\.)*+'|'[^']*+(?:''[^']*+)*+'|(?<![\w$])(?P<dollars>\$(?:[^\W\d]\w*+)?\$)"
)
_NOT_CODE = re.compile(_QUOTED, re.DOTALL)
_TOKEN = re.compile(
    rf"{_QUOTED}|(?P<mark>[();])|\b(?P<word>begin\s+atomic|case|end)\b", re.DOTALL | re.IGNORECASE
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_BLANK = re.compile(r"(?:\s|--[^\n]*+)++")
_WITHOUT_ROWS = re.compile(
    r"(?:alter|analyze|cluster|comment|create|do|drop|grant|lock|refresh|reindex|reset|revoke|savepoint"
    r"|security|set|truncate|vacuum)\b",
    re.IGNORECASE,
)
_WRITES = re.compile(r"(?:delete|insert|merge|update)\b", re.IGNORECASE)
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)


def without_comments_and_literals(sql: str) -> str:
    """Return the statement without comments, and with empty literals."""
    parts, begin = [], 0
    for match, end in _tokens(_NOT_CODE, sql):
        if not match["name"]:
            parts += [sql[begin : match.start()], " " if match["line"] or match["comment"] else "''"]
            begin = end
    return "".join([*parts, sql[begin:]]).strip()


def split_statements(sql: str) -> list[str]:
    """Return the statements of the text, without the semicolons and the comments before each."""
    return [sql[begin:end] for begin, end in _spans(sql)] if sql else []


def split_last_rows(sql: str) -> tuple[str, str]:
    """Split text into what needs no rows and a last statement that may return some; one can be empty."""
    spans = _spans(sql)
    if not spans:
        return "", sql
    begin, end = spans[-1]
    last = sql[begin:end]
    if _WITHOUT_ROWS.match(last) or (_WRITES.match(last) and not _RETURNING.search(last)):
        return sql, ""
    return (sql[:begin], sql[begin:]) if len(spans) > 1 else ("", sql)


@lru_cache(maxsize=2)
def _spans(sql: str) -> tuple[tuple[int, int], ...]:
    """Return `_statement_spans`, which several questions about a text need."""
    return tuple(_statement_spans(sql))


def _statement_spans(sql: str) -> Iterator[tuple[int, int]]:
    """Yield where each statement begins and ends; `BEGIN ATOMIC` bodies and parentheses belong to one."""
    begin = _skip_blank(sql, 0)
    depth = blocks = 0
    for match, position in _tokens(_TOKEN, sql):
        word = (match["word"] or "").lower()
        if match["mark"] in ("(", ")"):
            depth = max(0, depth + (1 if match["mark"] == "(" else -1))
        elif word == "end":
            blocks = max(0, blocks - 1)
        elif word and (blocks or word != "case"):
            blocks += 1
        elif match["mark"] == ";" and depth == blocks == 0:
            if begin < match.start():
                yield begin, match.start()
            begin = _skip_blank(sql, position)
    if begin < len(sql):
        yield begin, len(sql)


def _tokens(pattern: re.Pattern[str], sql: str) -> Iterator[tuple[re.Match[str], int]]:
    """Yield the matches, and where each ends: a comment or a string in dollars has further text."""
    end = 0
    while match := pattern.search(sql, end):
        end = match.end()
        if match["comment"]:
            end = _end_of_comment(sql, match.start())
        elif match["dollars"]:
            close = sql.find(match["dollars"], end)
            end = len(sql) if close < 0 else close + len(match["dollars"])
        yield match, end


def _skip_blank(sql: str, position: int) -> int:
    """Return where code begins after spaces and comments."""
    while True:
        if blank := _BLANK.match(sql, position):
            position = blank.end()
        elif sql.startswith("/*", position):
            position = _end_of_comment(sql, position)
        else:
            return position


def _end_of_comment(sql: str, begin: int) -> int:
    """Return where a comment ends, which may contain comments; the end of the text if it does not end."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(sql, begin):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)
