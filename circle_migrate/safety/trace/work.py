"""Find the work of a statement from its text, the server's messages and the state of its transaction.

Messages at DEBUG1 decide. They use `errmsg_internal`, so that they are the same in every language, and name
relations without schemas: https://github.com/postgres/postgres/tree/REL_18_STABLE/src/backend, tablecmds.c
and index.c. Work without a message shows in a new file of a table (CLUSTER, REFRESH, TRUNCATE) or in its
number of scans; writes show only in the lock and the text, because scratch tables are empty.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from circle_migrate.postgres import sql_text
from circle_migrate.postgres.identifier import IDENTIFIER, unquote_and_fold
from circle_migrate.postgres.sql_text import compile_pattern, mentions
from circle_migrate.safety.trace.record import Lock, Task, TracedRelation, Work, XactState

_MESSAGES = (
    (re.compile(r'rewriting table "(?P<table>.+)"'), Task.REWRITE),
    (re.compile(r'verifying table "(?P<table>.+)"'), Task.SCAN),
    (re.compile(r'building index ".+" on table "(?P<table>.+)" (?:serially|with request)'), Task.INDEX_BUILD),
    (re.compile(r'validating foreign key constraint "(?P<constraint>.+)"'), Task.FK_VALIDATION),
)
_PROOF = re.compile(
    r"existing constraints on .+ are sufficient to prove|partition constraint .+ is implied by existing"
)
_ROW_EXCLUSIVE = "RowExclusiveLock"

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_NAME = rf"{IDENTIFIER}(?:\s*\.\s*{IDENTIFIER})?"

_WRITES = compile_pattern(
    r"(?:UPDATE|DELETE\s+FROM|MERGE\s+INTO|INSERT\s+INTO|COPY|TRUNCATE(?:\s+TABLE)?)\s+"
    rf"(?:ONLY\s+)?(?P<name>{_NAME})"
)
# The cost of such an INSERT does not depend on a table.
_INSERT_VALUES = compile_pattern(
    rf"INSERT\s+INTO\s+{_NAME}\s*(?:AS\s+{IDENTIFIER}\s*)?(?:\([^()]*\)\s*)?(?:OVERRIDING\s+\w+\s+VALUE\s+)?"
    r"(?:VALUES|DEFAULT\s+VALUES)\b"
)
_TASKS = {
    "UPDATE": Task.UPDATE,
    "DELETE": Task.DELETE,
    "MERGE": Task.UPDATE,  # or DELETE
    "TRUNCATE": Task.TRUNCATE,
    "INSERT": Task.INSERT,
    "COPY": Task.INSERT,
}
_NESTING = ("DO", "SELECT", "WITH", "CALL", "EXECUTE", "VALUES")
"""First words of statements that can run other statements."""

_LOOP = compile_pattern(r"(\bEND\s+)?\bLOOP\b")
_FOR_EACH_ROW = compile_pattern(rf"\bFROM\b(?!\s+{_NAME}\s*\()|\bLOOP\b")
_MERGE_DELETES = compile_pattern(r"MERGE\b.*\bTHEN\s+DELETE\b")
_MERGE_WRITES = compile_pattern(r"\bTHEN\s+(?:UPDATE|DELETE|INSERT)\b")
_RAISED = compile_pattern(r"\bRAISE\b(?:'(?:[^']|'')*'|[^';])*;")
_COPY_OUT = compile_pattern(r"COPY\b.*\bTO\b")
_COPY_QUERY = compile_pattern(r"COPY\s*\(")
_ROW_VALUE = compile_pattern(rf"\b(?:NEW|OLD)\s*\.\s*{IDENTIFIER}")
# Subqueries and arguments have a FROM and WHERE of their own; what `=` follows is a list of columns.
_IN_PARENTHESES = compile_pattern(r"\([^()]*\)(?!\s*=)")
_ASSIGNED = compile_pattern(r"\bSET\b(.*?)(?:\b(?:FROM|WHERE)\b|$)")

_WEAK = Lock.ShareUpdateExclusive
# The locks of statements that commit, so that their locks cannot be read after them, from
# https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES.
_AUTOCOMMIT = (
    (rf"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\b.*?\bON\s+(?:ONLY\s+)?({_NAME})", _WEAK),
    (r"DROP\s+INDEX\s+CONCURRENTLY\b", _WEAK),
    (rf"REINDEX\b[^;]*?\b(?:TABLE|INDEX)\s+CONCURRENTLY\s+({_NAME})", _WEAK),
    (r"REINDEX\b[^;]*?\bCONCURRENTLY\b", _WEAK),
    (r"REINDEX\s+(?:\([^)]*\)\s*)?(?:SCHEMA|DATABASE|SYSTEM)\b", Lock.Share),
    (
        rf"ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?({_NAME})\s+DETACH\s+PARTITION\s+({_NAME})\s+CONCURRENTLY\b",
        _WEAK,
    ),
    (rf"VACUUM\s+(?:FULL|\([^)]*\bFULL\b[^)]*\))[A-Z\s]*?({_NAME})?\s*;?\s*$", Lock.AccessExclusive),
    (rf"VACUUM\b\s*(?:\([^)]*\))?(?:\s*(?:VERBOSE|ANALYZE|FREEZE)\b)*\s*({_NAME})?", _WEAK),
    (rf"CLUSTER\b\s*(?:\([^)]*\)\s*|VERBOSE\s+)?({_NAME})?", Lock.AccessExclusive),
)
_AUTOCOMMIT_PATTERNS = tuple((compile_pattern(pattern), lock) for pattern, lock in _AUTOCOMMIT)
_TRANSACTIONAL = compile_pattern(
    r"(?:ALTER|CREATE|DROP|COMMENT|INSERT|UPDATE|DELETE|MERGE|TRUNCATE|REFRESH|REINDEX|ANALYZE|SELECT|WITH"
    r"|GRANT|REVOKE|DO)\b"
    r"(?!\s+(?:DATABASE|SYSTEM|SUBSCRIPTION|TABLESPACE)\b)"
)
_CALLS = re.compile(rf"({IDENTIFIER})\s*\(")
_EXECUTES = compile_pattern(rf"EXECUTE\s+({IDENTIFIER})")
_ENDS_TRANSACTION = compile_pattern(r"\b(?:COMMIT|ROLLBACK)\b")


@dataclass(frozen=True, slots=True)
class RowWrite:
    """How a statement writes: `target` if its text begins with the write, `hidden` if nested ones may."""

    task: Task
    target: str | None = None
    hidden: bool = False


def classify_write(sql: str) -> RowWrite | None:
    """Return how a statement writes rows; None for none or literal ones."""
    text = _code(sql)
    first = _first_word(text)
    if first in _NESTING or _COPY_QUERY.match(text):
        return RowWrite(Task.UPDATE, hidden=True)
    match = _WRITES.match(text)
    if match is None or first == "TRUNCATE" or _INSERT_VALUES.match(text) or _COPY_OUT.match(text):
        return None
    if first == "MERGE" and not _MERGE_WRITES.search(text):
        return None
    return RowWrite(_task(text), match["name"])


def nested_writes(sql: str, bodies: str) -> Iterator[Work]:
    """Yield each write but INSERT in nested texts, which do not run in loops over empty tables."""
    text = _RAISED.sub(" ", _without_comments(sql))
    own = text if _first_word(text) == "DO" else sql_text.without_comments_and_literals(sql)
    called_for_rows = _FOR_EACH_ROW.search(own) is not None
    for part, repeated in ((own, False), (_without_comments(bodies), called_for_rows)):
        for match in _WRITES.finditer(part):
            before, nested = part[: match.start()], sql_text.split_statements(part[match.start() :])[0]
            in_loop = sum(-1 if end else 1 for end in _LOOP.findall(before)) > 0
            task = _task(nested)
            if task is not Task.INSERT:
                yield Work(task, match["name"], nested, repeated or in_loop)


def written_table(sql: str) -> tuple[Task, str] | None:
    """Return how a statement writes the table that its text begins with, and its name; None for none."""
    text = _code(sql)
    match = _WRITES.match(text)
    return None if match is None or _COPY_OUT.match(text) else (_task(text), match["name"])


def fired_writes(body: str, *, by_row: bool) -> Iterator[Work]:
    """Yield each write but INSERT in the function of a trigger; values of its row become parameters."""
    numbers: dict[str, str] = {}
    text = _ROW_VALUE.sub(lambda found: numbers.setdefault(found[0].lower(), f"${len(numbers) + 1}"), body)
    return (replace(work, by_row=by_row) for work in nested_writes("", text))


def assigns(sql: str, column: str) -> bool:
    """Return whether an UPDATE sets the column."""
    text, shorter = "", _code(sql)
    while text != shorter:
        text, shorter = shorter, _IN_PARENTHESES.sub(" ", shorter)
    return any(mentions(part, column) for part in _ASSIGNED.findall(text))


def _task(text: str) -> Task:
    return Task.DELETE if _MERGE_DELETES.match(text) else _TASKS[_first_word(text)]


def called_functions(sql: str) -> frozenset[str]:
    """Return the names of functions that a text calls, without schemas and quotes."""
    return frozenset(map(unquote_and_fold, _CALLS.findall(_without_comments(sql))))


def executed_name(sql: str) -> str:
    """Return the name of the prepared statement that a statement executes; empty for none."""
    match = _EXECUTES.match(_code(sql))
    return unquote_and_fold(match[1]) if match else ""


def classify_autocommit(sql: str) -> tuple[Lock, tuple[str, ...]] | None:
    """Return the longest lock of a statement that commits and the tables in its text; None for any other."""
    text = _code(sql)
    for pattern, lock in _AUTOCOMMIT_PATTERNS:
        match = pattern.match(text)
        if match is not None:
            return lock, tuple(filter(None, match.groups()))
    return None


def can_run_in_transaction(sql: str) -> bool:
    """Return whether a statement sent in autocommit mode does the same in its own transaction."""
    text = _code(sql)
    if classify_autocommit(sql) is not None or _TRANSACTIONAL.match(text) is None:
        return False
    return _first_word(text) != "DO" or _ENDS_TRANSACTION.search(sql) is None


def _first_word(text: str) -> str:
    match = re.match(r"\w+", text)
    return match[0].upper() if match else ""


def _code(sql: str) -> str:
    """Return a statement without comments, contents of literals and opening parentheses."""
    return sql_text.without_comments_and_literals(sql).lstrip("(")


def _without_comments(sql: str) -> str:
    return _COMMENT.sub(" ", sql)


@dataclass(frozen=True, slots=True)
class ServerNotice:
    """Work named by a message of the server, with its table or the foreign key that it validates."""

    task: Task
    table: str | None = None
    constraint: str | None = None


def parse_messages(messages: Iterable[str]) -> tuple[ServerNotice, ...]:
    """Return the work that messages name; other messages are ignored."""
    return tuple(
        ServerNotice(task, **match.groupdict())
        for message in messages
        for pattern, task in _MESSAGES
        if (match := pattern.match(message))
    )


def is_proof(message: str) -> bool:
    """Return whether a message says that a constraint proves what rows would be scanned for."""
    return _PROOF.search(message) is not None


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a statement that has run or failed; mappings are by oid.

    `known` are the relations from before the plan, `present` those of now, `replaced` those with a new file.
    `target` is the table that the statement writes, `named` are other tables in its text. `bodies` are the
    functions that it calls; `nested` the writes in these or in a DO block, which need not have run. `fired`
    are the writes of triggers and of foreign keys with an action.
    """

    sql: str
    messages: tuple[str, ...]
    known: Mapping[int, TracedRelation]
    present: Mapping[int, TracedRelation]
    before: XactState
    after: XactState
    replaced: frozenset[int] = frozenset()
    foreign_keys: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    target: int | None = None
    named: frozenset[int] = frozenset()
    bodies: str = ""
    nested: Sequence[tuple[int, Work]] = ()
    fired: Sequence[tuple[int, Work]] = ()

    def name(self, oid: int) -> str | None:
        """Return a relation's name from before the plan, else its current one."""
        relation = self.known.get(oid) or self.present.get(oid)
        return relation.name if relation else None

    def by_name(self, relname: str) -> list[int]:
        """Return the relations that have or had this name, visible ones first and dropped ones last."""
        named = (oid for oid, relation in self.present.items() if relation.relname == relname)
        present = sorted(named, key=lambda oid: not self.present[oid].visible)
        dropped = self.known.keys() - self.present.keys()
        return [*present, *(oid for oid in dropped if self.known[oid].relname == relname)]


def find_work(observation: Observation) -> tuple[Work, ...]:
    """Return the work of a statement that grows with a table."""
    named = list(_work_of_messages(observation))
    rewritten = {work.relation for work in named if work.task is Task.REWRITE}
    replaced = list(_work_of_new_files(observation, rewritten))
    truncated = {work.relation for work in replaced if work.task is Task.TRUNCATE}
    named = [work for work in named if work.relation not in truncated]  # index builds on empty tables
    writes = (*_row_writes(observation), *_named(observation, observation.fired))
    return (*named, *replaced, *writes) or tuple(_scans(observation))


def _work_of_messages(observation: Observation) -> Iterator[Work]:
    for notice in parse_messages(observation.messages):
        oids = observation.by_name(notice.table) if notice.table else _validated(observation, notice)
        used = [oid for oid in oids if oid in observation.after.modes or oid in observation.named] or oids
        for oid in used[: 1 if notice.table else None]:
            name = observation.name(oid)
            if name is not None:  # TOAST and temporary tables have no name here
                yield Work(notice.task, name)


def _validated(observation: Observation, notice: ServerNotice) -> list[int]:
    """Return the tables with rows that may have a foreign key, those that were not locked before if any."""
    oids = observation.foreign_keys.get(notice.constraint or "", ())
    stored = [oid for oid in oids if oid in observation.present and observation.present[oid].has_rows]
    return [oid for oid in stored if oid not in observation.before.modes] or stored


def _work_of_new_files(observation: Observation, rewritten: set[str]) -> Iterator[Work]:
    text = _without_comments(f"{observation.sql}\n{observation.bodies}")
    truncate = re.search(r"\bTRUNCATE\b", text, re.IGNORECASE)
    for oid in sorted(observation.replaced):
        name = observation.name(oid)
        if name is not None and name not in rewritten:
            yield Work(Task.TRUNCATE if truncate else Task.REWRITE, name)


def _row_writes(observation: Observation) -> Iterator[Work]:
    write = classify_write(observation.sql)
    if write is None:
        return
    table = observation.present.get(observation.target or 0)
    # A view writes to tables that the text does not name.
    oids = [table.oid] if table is not None and table.kind != "v" else _written_tables(observation, write)
    known = {oid for oid, _ in observation.nested}
    others = ((oid, _other_write(observation, write)) for oid in oids if oid not in known)
    yield from _named(observation, (*observation.nested, *others))


def _named(observation: Observation, works: Iterable[tuple[int, Work]]) -> Iterator[Work]:
    for oid, work in works:
        name = observation.name(oid)
        if name is not None:
            yield replace(work, relation=name)


def _other_write(observation: Observation, write: RowWrite) -> Work:
    """Return how a table is written that no nested text names: by INSERT, or by a text that is not known."""
    text = f"{observation.sql}\n{observation.bodies}"
    if write.hidden and (mentions(text, "INSERT") or mentions(text, "COPY")):
        return Work(Task.INSERT, "")
    deletes = write.hidden and mentions(text, "DELETE")
    return Work(Task.DELETE if deletes else write.task, "", uncounted=deletes)


def _written_tables(observation: Observation, write: RowWrite) -> Iterator[int]:
    before, after = observation.before, observation.after
    for oid, modes in sorted(after.modes.items()):
        relation = observation.present.get(oid)
        if _ROW_EXCLUSIVE not in modes or relation is None or relation.kind not in "rpf":
            continue
        if _ROW_EXCLUSIVE in before.modes.get(oid, ()) and not _names(observation, relation.relname):
            continue
        if not (write.hidden and after.inserted.get(oid, 0) > before.inserted.get(oid, 0)):  # literal rows
            yield oid


def _names(observation: Observation, relname: str) -> bool:
    """Return whether text with a write names the table, whose lock alone proves nothing if held before."""
    texts = (observation.sql, observation.bodies)
    return any(relname in text and _WRITES.search(_without_comments(text)) is not None for text in texts)


def _scans(observation: Observation) -> Iterator[Work]:
    for oid, count in sorted(observation.after.scans.items()):
        relation = observation.present.get(oid)
        if relation is not None and relation.has_rows and count > observation.before.scans.get(oid, 0):
            yield Work(Task.SCAN, observation.name(oid) or relation.name)
