"""The work of one statement: what the server said about it, and what it left behind.

PostgreSQL's messages at DEBUG1 decide. They are written with `errmsg_internal` and so the same in every
language, see tablecmds.c and index.c in
https://github.com/postgres/postgres/tree/REL_18_STABLE/src/backend; they name relations without schemas. What
PostgreSQL has no message for shows in a new file of a table (CLUSTER, REFRESH, TRUNCATE) or in its count of
scans; rows that are written show only in the lock, as scratch tables have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circle_migrate.postgres.database import OWN_TABLES
from circle_migrate.safety.trace.record import Lock, Task, Work
from circle_migrate.safety.trace.statement_text import Writing, truncates, writes, writing

if TYPE_CHECKING:
    import asyncpg

_TASKS = (
    (re.compile(r'rewriting table "(?P<table>.+)"'), Task.REWRITE),
    (re.compile(r'verifying table "(?P<table>.+)"'), Task.SCAN),
    (re.compile(r'building index ".+" on table "(?P<table>.+)" (?:serially|with request)'), Task.INDEX_BUILD),
    (re.compile(r'validating foreign key constraint "(?P<constraint>.+)"'), Task.FK_VALIDATION),
)
_PROOF = re.compile(
    r"existing constraints on .+ are sufficient to prove|partition constraint .+ is implied by existing"
)
_WRITING = "RowExclusiveLock"

_RELATIONS = """
SELECT c.oid::bigint AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, c.relname,
       c.relkind::text AS kind, pg_relation_filenode(c.oid)::bigint AS file,
       pg_table_is_visible(c.oid) AS visible
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema'
  AND c.relname <> ALL ($1::text[])
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class owner ON owner.oid = d.refobjid
      WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND c.relkind = 'S' AND owner.relname = ANY ($1::text[])
  )
"""

# Counts of the running transaction alone; a row of a catalogue counts when it is written, so that their sum
# changes with any DDL, however hidden.
_HELD = """
SELECT 0::bigint AS oid, NULL::text[] AS modes, NULL::bigint AS file, 0::bigint AS scans,
       (SELECT sum(pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
                   + pg_stat_get_xact_tuples_deleted(oid))::bigint
        FROM pg_catalog.pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r') AS written
UNION ALL
SELECT oid, modes, pg_relation_filenode(oid::oid)::bigint, scans, inserted
FROM (
    SELECT relation::bigint AS oid, array_agg(mode) AS modes
    FROM pg_catalog.pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted AND relation >= 16384
    GROUP BY relation
) locked FULL JOIN (
    SELECT oid::bigint AS oid, pg_stat_get_xact_numscans(oid) AS scans,
           pg_stat_get_xact_tuples_inserted(oid) AS inserted
    FROM pg_catalog.pg_class
    WHERE relkind IN ('r', 'm') AND oid >= 16384
      AND pg_stat_get_xact_numscans(oid) + pg_stat_get_xact_tuples_inserted(oid) > 0
) counted USING (oid)
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or sequence; `name` has its schema and is quoted, `file` is where its rows are kept.

    `visible` is what its name alone means under the search_path.
    """

    oid: int
    name: str
    relname: str
    kind: str
    file: int | None
    visible: bool

    @property
    def has_rows(self) -> bool:
        """Whether rows are kept in it, so that another file means that they were written again."""
        return self.kind in "rm"


@dataclass(frozen=True, slots=True)
class HeldLocks:
    """What a transaction has so far, by relation: lock modes, the file, how often it has read it whole.

    `inserted` counts the rows it has added to each, `catalogued` those it has written into catalogues. All
    empty outside of a transaction.
    """

    modes: Mapping[int, frozenset[str]] = field(default_factory=dict)
    files: Mapping[int, int | None] = field(default_factory=dict)
    scans: Mapping[int, int] = field(default_factory=dict)
    inserted: Mapping[int, int] = field(default_factory=dict)
    catalogued: int = 0

    def strongest(self, names: Mapping[int, str]) -> dict[str, Lock]:
        """The strongest mode on each of the relations that are named."""
        return {
            names[oid]: max(Lock[mode.removesuffix("Lock")] for mode in modes)
            for oid, modes in sorted(self.modes.items(), key=lambda item: names.get(item[0], ""))
            if oid in names
        }


async def relations(driver: asyncpg.Connection, version_table: str) -> dict[int, Relation]:
    """All relations of users by oid, without indexes, Alembic's table and the journal."""
    rows = await driver.fetch(_RELATIONS, [version_table, *OWN_TABLES])
    return {row["oid"]: Relation(*row) for row in rows}


async def held_locks(driver: asyncpg.Connection) -> HeldLocks:
    """What the connection's transaction has so far; nothing can be asked in one that has failed."""
    from asyncpg import InFailedSQLTransactionError

    if not driver.is_in_transaction():
        return HeldLocks()
    try:
        total, *rows = await driver.fetch(_HELD)
    except InFailedSQLTransactionError:
        return HeldLocks()
    return HeldLocks(
        modes={row["oid"]: frozenset(row["modes"]) for row in rows if row["modes"]},
        files={row["oid"]: row["file"] for row in rows},
        scans={row["oid"]: row["scans"] or 0 for row in rows},
        inserted={row["oid"]: row["written"] or 0 for row in rows},
        catalogued=total["written"],
    )


@dataclass(frozen=True, slots=True)
class ServerNotice:
    """One piece of work the server named: by its table, or by the foreign key that it checks."""

    task: Task
    words: str
    table: str | None = None
    constraint: str | None = None


def parse_message(message: str) -> ServerNotice | None:
    """The work a message tells of, None for any other message."""
    for pattern, task in _TASKS:
        match = pattern.match(message)
        if match is not None:
            return ServerNotice(task, message, **match.groupdict())
    return None


def is_proof(message: str) -> bool:
    """Whether it says that rows need not be read, as a constraint proves what is to be checked."""
    return _PROOF.search(message) is not None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a statement that has run, or has failed.

    `known` are the relations from before the plan, `present` those of now, by oid; `replaced` those that got
    a new file. `foreign_keys` has the tables of foreign keys by their names; `target` is what the statement
    writes to, `named` what else its text names, `bodies` the text of the functions that it calls and
    `looped` what these or a DO block may write, though nothing of it has run.
    """

    sql: str
    said: tuple[ServerNotice, ...]
    known: Mapping[int, Relation]
    present: Mapping[int, Relation]
    before: HeldLocks
    after: HeldLocks
    replaced: frozenset[int] = frozenset()
    foreign_keys: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    target: int | None = None
    named: frozenset[int] = frozenset()
    bodies: str = ""
    looped: Mapping[int, Task] = field(default_factory=dict)

    def name(self, oid: int) -> str | None:
        """A relation's name from before the plan, or the one it was born with."""
        relation = self.known.get(oid) or self.present.get(oid)
        return relation.name if relation else None

    def called(self, relname: str) -> list[int]:
        """The relations that have this name now or had it before, the visible one first."""
        now = sorted(
            (oid for oid, relation in self.present.items() if relation.relname == relname),
            key=lambda oid: not self.present[oid].visible,
        )
        gone = (oid for oid in self.known.keys() - self.present.keys() if self.known[oid].relname == relname)
        return [*now, *gone]


def work(evidence: Evidence) -> tuple[Work, ...]:
    """All work of the statement that grows with a table."""
    named = list(_named(evidence))
    replaced = list(_replaced(evidence, {work.relation for work in named if work.task is Task.REWRITE}))
    emptied = {work.relation for work in replaced if work.task is Task.TRUNCATE}
    named = [work for work in named if work.relation not in emptied]  # indexes of nothing
    return (*named, *replaced, *_rows(evidence)) or tuple(_scans(evidence))


def _named(evidence: Evidence) -> Iterator[Work]:
    for said in evidence.said:
        found = (
            evidence.called(said.table)
            if said.table
            else evidence.foreign_keys.get(said.constraint or "", ())
        )
        meant = [oid for oid in found if oid in evidence.after.modes or oid in evidence.named] or found
        name = evidence.name(meant[0]) if meant else None
        if name is not None:  # neither a TOAST table nor a temporary one
            yield Work(said.task, name, said.words)


def _replaced(evidence: Evidence, rewritten: set[str]) -> Iterator[Work]:
    task = Task.TRUNCATE if truncates(evidence.sql) else Task.REWRITE
    for oid in sorted(evidence.replaced):
        name = evidence.name(oid)
        if name is not None and name not in rewritten:
            yield Work(task, name)


def _rows(evidence: Evidence) -> Iterator[Work]:
    """Rows that the statement writes however many there are."""
    found = writing(evidence.sql)
    if found is None:
        return
    table = evidence.present.get(evidence.target or 0)
    # A view leads to tables that the text does not name.
    oids = [table.oid] if table is not None and table.kind != "v" else _written(evidence, found)
    tasks = {**evidence.looped, **dict.fromkeys(oids, found.task)}
    for oid, task in tasks.items():
        name = evidence.name(oid)
        if name is not None:
            yield Work(task, name, found.words)


def _written(evidence: Evidence, found: Writing) -> Iterator[int]:
    before, after = evidence.before, evidence.after
    for oid, modes in sorted(after.modes.items()):
        relation = evidence.present.get(oid)
        if _WRITING not in modes or relation is None or relation.kind not in "rpf":
            continue
        again = _WRITING in before.modes.get(oid, ())
        if again and not _tells(evidence, found, relation.relname):
            continue
        given = after.inserted.get(oid, 0) > before.inserted.get(oid, 0)
        if not given or (found.seen and found.task is not Task.INSERT):
            yield oid


def _tells(evidence: Evidence, found: Writing, relname: str) -> bool:
    """Whether text that writes names the table: a lock that was held before is no sign of it."""
    if found.seen and relname in evidence.sql:
        return True
    return writes(evidence.bodies) and relname in evidence.bodies


def _scans(evidence: Evidence) -> Iterator[Work]:
    for oid, count in sorted(evidence.after.scans.items()):
        relation = evidence.present.get(oid)
        if relation is not None and relation.has_rows and count > evidence.before.scans.get(oid, 0):
            yield Work(Task.SCAN, evidence.name(oid) or relation.name)
