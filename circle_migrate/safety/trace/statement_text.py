"""What the text of a statement alone tells: whether it writes rows, and whether it needs its own commits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from circle_migrate.postgres.identifier import unquote_and_fold
from circle_migrate.postgres.sql_text import code
from circle_migrate.safety.trace.record import Lock, Task

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_PART = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_NAME = rf"{_PART}(?:\s*\.\s*{_PART})?"

_WRITES = re.compile(
    rf"(?P<verb>UPDATE|DELETE\s+FROM|MERGE\s+INTO|INSERT\s+INTO|COPY)\s+(?:ONLY\s+)?(?P<name>{_NAME})",
    re.IGNORECASE,
)
# An INSERT of given rows costs what they cost, whatever is in the table.
_GIVEN_ROWS = re.compile(
    rf"INSERT\s+INTO\s+{_NAME}\s*(?:AS\s+{_PART}\s*)?(?:\([^()]*\)\s*)?(?:OVERRIDING\s+\w+\s+VALUE\s+)?"
    r"(?:VALUES|DEFAULT\s+VALUES)\b",
    re.IGNORECASE,
)
_TASKS = {
    "UPDATE": Task.UPDATE,
    "DELETE": Task.DELETE,
    "MERGE": Task.UPDATE,
    "INSERT": Task.INSERT,
    "COPY": Task.INSERT,
}
_HIDING = ("DO", "SELECT", "WITH", "CALL", "EXECUTE", "VALUES")
"""What statements begin with in which others can be hidden."""

_COPY_OUT = re.compile(r"COPY\b.*\bTO\b", re.IGNORECASE | re.DOTALL)

# https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES, for statements that commit by
# themselves, so that nobody can look at their locks afterwards.
_COMMITTING = (
    (
        rf"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\b.*?\bON\s+(?:ONLY\s+)?({_NAME})",
        "ShareUpdateExclusive",
    ),
    (r"DROP\s+INDEX\s+CONCURRENTLY\b", "ShareUpdateExclusive"),
    (rf"REINDEX\b[^;]*?\b(?:TABLE|INDEX)\s+CONCURRENTLY\s+({_NAME})", "ShareUpdateExclusive"),
    (r"REINDEX\b[^;]*?\bCONCURRENTLY\b", "ShareUpdateExclusive"),
    (r"REINDEX\s+(?:\([^)]*\)\s*)?(?:SCHEMA|DATABASE|SYSTEM)\b", "Share"),
    (
        rf"ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?({_NAME})\s+DETACH\s+PARTITION\s+({_NAME})\s+CONCURRENTLY\b",
        "ShareUpdateExclusive",
    ),
    (rf"VACUUM\s+(?:FULL|\([^)]*\bFULL\b[^)]*\))[A-Z\s]*?({_NAME})?\s*;?\s*$", "AccessExclusive"),
    (rf"VACUUM\b\s*(?:\([^)]*\))?(?:\s*(?:VERBOSE|ANALYZE|FREEZE)\b)*\s*({_NAME})?", "ShareUpdateExclusive"),
    (rf"CLUSTER\b\s*(?:\([^)]*\)\s*|VERBOSE\s+)?({_NAME})?", "AccessExclusive"),
)
_COMMITTING_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), Lock[mode]) for pattern, mode in _COMMITTING
)
_LONE = re.compile(
    r"(?:ALTER|CREATE|DROP|COMMENT|INSERT|UPDATE|DELETE|MERGE|TRUNCATE|REFRESH|REINDEX|ANALYZE|SELECT|WITH"
    r"|GRANT|REVOKE|DO)\b"
    r"(?!\s+(?:DATABASE|SYSTEM|SUBSCRIPTION|TABLESPACE)\b)",
    re.IGNORECASE,
)
_CALLS = re.compile(rf"({_PART})\s*\(")
_ENDS_TRANSACTION = re.compile(r"\b(?:COMMIT|ROLLBACK)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Writing:
    """Rows that a statement writes, or could: how, and of which table where its text begins with that.

    `hidden` where it may do so somewhere inside, and `seen` where the words for it are there.
    """

    task: Task
    words: str
    target: str | None = None
    hidden: bool = False
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Committing:
    """A statement that commits by itself: the lock it holds longest, and the tables its text names."""

    mode: Lock
    named: tuple[str, ...]


def writing(sql: str) -> Writing | None:
    """How a statement writes rows; None where it writes none, or only those it brings along.

    Of a statement that can hide others, the first word of theirs that is seen counts, else UPDATE.
    """
    text = _code(sql)
    first = _first_word(text)
    if first in _HIDING:
        seen = _WRITES.search(_COMMENT.sub(" ", sql))
        task = _TASKS[_first_word(seen["verb"])] if seen else Task.UPDATE
        return Writing(task, f"inside {first}", hidden=True, seen=seen is not None)
    match = _WRITES.match(text)
    if match is None or _GIVEN_ROWS.match(text) or _COPY_OUT.match(text):
        return None
    return Writing(_TASKS[first], first, match["name"])


def writes(text: str) -> bool:
    """Whether statements that write rows are somewhere in a text."""
    return _WRITES.search(_COMMENT.sub(" ", text)) is not None


def written(sql: str, bodies: str) -> dict[str, Task]:
    """The tables of which a statement that hides others, or functions of these bodies, change or delete rows.

    Named as the text names them. On empty tables a loop over their rows runs none of its statements.
    """
    text = _COMMENT.sub(" ", sql)
    own = text if _first_word(text) == "DO" else code(sql)
    matches = _WRITES.finditer(f"{own}\n{_COMMENT.sub(' ', bodies)}")
    tasks = {match["name"]: _TASKS[_first_word(match["verb"])] for match in matches}
    return {name: task for name, task in tasks.items() if task is not Task.INSERT}


def called(sql: str) -> frozenset[str]:
    """The names that a text calls functions by, without schemas and quotes."""
    return frozenset(map(unquote_and_fold, _CALLS.findall(_COMMENT.sub(" ", sql))))


def truncates(sql: str) -> bool:
    """Whether tables whose files it replaces are emptied, as far as its text says."""
    return re.search(r"\bTRUNCATE\b", _COMMENT.sub(" ", sql), re.IGNORECASE) is not None


def committing(sql: str) -> Committing | None:
    """What is known of a statement that commits by itself; None for any other."""
    text = _code(sql)
    for pattern, mode in _COMMITTING_PATTERNS:
        match = pattern.match(text)
        if match is not None:
            return Committing(mode, tuple(filter(None, match.groups())))
    return None


def fits_a_transaction(sql: str) -> bool:
    """Whether a statement sent outside a transaction does the same in one of its own."""
    text = _code(sql)
    if committing(sql) is not None or _LONE.match(text) is None:
        return False
    return _first_word(text) != "DO" or _ENDS_TRANSACTION.search(sql) is None


def _first_word(text: str) -> str:
    match = re.match(r"\w+", text)
    return match[0].upper() if match else ""


def _code(sql: str) -> str:
    """The statement without comments and the contents of literals, and without brackets around it."""
    return code(sql).lstrip("(")
