"""A connection to a scratch database that observes the locks, work and changes of each statement."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.postgres.catalog.reader import CatalogReader
from circle_migrate.postgres.catalog.snapshot import Change, Op, Snapshot, changes_between
from circle_migrate.postgres.journal_tables import OWN_SCHEMAS
from circle_migrate.postgres.server_errors import sqlstate
from circle_migrate.postgres.sql_text import mentions
from circle_migrate.safety.trace import work
from circle_migrate.safety.trace.record import (
    Lock,
    ServerError,
    Task,
    TracedRelation,
    TracedStatement,
    Work,
    XactState,
)

_RELATIONS = f"""
SELECT c.oid::bigint AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, c.relname,
       c.relkind::text AS kind, pg_relation_filenode(c.oid)::bigint AS file,
       pg_table_is_visible(c.oid) AS visible
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema' AND n.nspname NOT IN {OWN_SCHEMAS} AND c.relname <> $1::text
"""  # noqa: S608 - constants

# Counts of the running transaction only. The count of a catalog includes uncommitted rows, so that the sum
# changes with any DDL, also inside functions.
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

_FOREIGN_KEYS = """
SELECT conname::text AS name, conrelid::bigint AS oid FROM pg_catalog.pg_constraint
WHERE contype = 'f' AND conname = ANY ($1::text[])
"""
# The oid of a relation by its name, for an index that of its table.
_OID = """
SELECT coalesce(indrelid, named.oid)::bigint
FROM (SELECT to_regclass($1)::oid) named (oid) LEFT JOIN pg_catalog.pg_index ON indexrelid = named.oid
"""
# Functions of extensions are not part of the plan.
_BODIES = """
SELECT p.proname::text AS name, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) AS body
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.proname = ANY ($1::text[]) AND l.lanname NOT IN ('internal', 'c')
  AND p.pronamespace <> 'pg_catalog'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'
                  AND d.classid = 'pg_catalog.pg_proc'::regclass)
"""

_PREPARED = "SELECT statement FROM pg_catalog.pg_prepared_statements WHERE name = $1"
# The bits of pg_trigger.tgtype: https://github.com/postgres/postgres/blob/REL_18_STABLE/src/include/catalog/pg_trigger.h
_EVENTS = {Task.INSERT: 4, Task.DELETE: 8, Task.UPDATE: 16, Task.TRUNCATE: 32}
_TRIGGERS = """
SELECT p.prosrc AS body, t.tgtype & 1 <> 0 AS by_row,
       ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
             WHERE attrelid = t.tgrelid AND attnum = ANY (t.tgattr)) AS columns
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
WHERE t.tgrelid::bigint = $1 AND t.tgtype & $2::int <> 0 AND t.tgenabled IN ('O', 'A') AND NOT t.tgisinternal
"""
_EVENT_TRIGGERS = """
SELECT p.prosrc AS body, false AS by_row
FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
WHERE e.evtenabled IN ('O', 'A')
"""
# The actions of foreign keys: on the deletion of rows if $2, which cascades further, else on new keys.
_ACTIONS = """
WITH RECURSIVE child (oid, key, referred, action) AS (
    SELECT conrelid, conkey[1], confkey, CASE WHEN $2 THEN confdeltype ELSE confupdtype END
    FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conparentid = 0 AND confrelid::bigint = $1
    UNION
    SELECT c.conrelid, c.conkey[1], NULL::int2[], c.confdeltype
    FROM child JOIN pg_catalog.pg_constraint c ON c.confrelid = child.oid
    WHERE $2 AND child.action = 'c' AND c.contype = 'f' AND c.conparentid = 0
)
SELECT child.oid::bigint AS oid,
       ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
             WHERE attrelid::bigint = $1 AND attnum = ANY (referred)) AS columns,
       format(CASE WHEN action = 'n' THEN 'UPDATE %1$s SET %2$I = NULL'
                   WHEN action = 'd' THEN 'UPDATE %1$s SET %2$I = DEFAULT'
                   WHEN $2 THEN 'DELETE FROM %1$s' ELSE 'UPDATE %1$s SET %2$I = %2$I' END
              || ' WHERE %2$I = $1', child.oid::regclass, a.attname) AS sql
FROM child JOIN pg_catalog.pg_attribute a ON a.attrelid = child.oid AND a.attnum = child.key
WHERE action IN ('c', 'n', 'd')
"""

_POSITION = {"position"}
"""The field that changes for the columns after a dropped one."""


@dataclass(slots=True)
class PendingStatement:
    """A statement that is running, the locks held before it, and the transaction begun for it alone."""

    traced: TracedStatement
    before: XactState
    own_transaction: Any = None


@dataclass(slots=True)
class TracedConnection:
    """A connection, with the relations before the plan (`known`) and now (`present`) by oid."""

    driver: asyncpg.Connection
    settings: DatabaseSettings
    reader: CatalogReader = field(init=False)
    known: dict[int, TracedRelation] = field(default_factory=dict)
    present: dict[int, TracedRelation] = field(default_factory=dict)
    catalog: Snapshot | None = None
    _files: dict[int, int | None] = field(default_factory=dict)
    _messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare to read the catalog."""
        self.reader = CatalogReader(self.driver, self.settings)

    async def begin(self, known: Mapping[int, TracedRelation] | None = None) -> None:
        """Begin to observe; `known` are the relations from before the plan if an earlier run began it."""
        self.driver.add_log_listener(lambda _, message: self._messages.append(str(message.message)))
        await self.driver.execute("SET client_min_messages = debug1")
        await self.refresh()
        self.known = dict(self.present if known is None else known)

    async def refresh(self) -> None:
        """Read the relations and the catalog again, as after a rollback."""
        await self.refresh_relations()
        self.catalog = await self.reader.snapshot()

    async def refresh_relations(self) -> None:
        """Read the relations again, as after a rollback to a known catalog."""
        await self._read_relations()
        self._files = {oid: relation.file for oid, relation in self.present.items()}

    async def before_statement(self, traced: TracedStatement, *, autocommit: bool) -> PendingStatement:
        """Return the state before a statement, in its own transaction if possible, to read its locks."""
        transaction = None
        if autocommit and not self.driver.is_in_transaction() and work.can_run_in_transaction(traced.sql):
            transaction = self.driver.transaction()
            await transaction.start()
        before = await self._xact_state()
        self._messages.clear()
        return PendingStatement(traced, before, transaction)

    async def after_statement(self, pending: PendingStatement) -> TracedStatement:
        """Return a completed statement with its locks, work and changes."""
        committed = not self.driver.is_in_transaction()
        if work.can_deallocate(pending.traced.sql):
            await self.reader.forget_deallocated()
        after = await self._xact_state()
        messages = tuple(self._messages)
        changes: tuple[Change, ...] = ()
        named = self.present
        if committed or after.catalog_writes != pending.before.catalog_writes:
            changes = await self._changes()
        files = {oid: relation.file for oid, relation in self.present.items()} if committed else after.files
        observation = await self._observe(pending, after, messages, self._replaced(files))
        transactional = not committed and pending.own_transaction is None
        names = {relation.name for relation in self.present.values()}
        moved = ((named[oid].name, new.name) for oid, new in self.present.items() if oid in named)
        traced = replace(
            self._traced(pending, observation),
            transactional=transactional,
            changes=changes,
            replaced_names={old: new for old, new in moved if old != new and old in names},
        )
        if pending.own_transaction is not None:
            await pending.own_transaction.commit()
        return replace(traced, locks=self._locks_by_kind(traced, observation.named)) if committed else traced

    async def statement_failed(self, pending: PendingStatement, error: ServerError) -> TracedStatement:
        """Return a failed statement with its work, error and the locks held before it."""
        in_transaction = self.driver.is_in_transaction()
        messages = tuple(self._messages)
        if pending.own_transaction is not None and not self.driver.is_closed():
            await pending.own_transaction.rollback()
        sql, before = pending.traced.sql, pending.before
        observation = work.Observation(sql, messages, self.known, self.present, before, before)
        transactional = in_transaction and pending.own_transaction is None
        return replace(self._traced(pending, observation), transactional=transactional, error=error)

    def _traced(self, pending: PendingStatement, observation: work.Observation) -> TracedStatement:
        names = {oid: relation.name for oid, relation in self.known.items()}
        present = self.present.items()
        return replace(
            pending.traced,
            locks_before=pending.before.strongest(names),
            locks=observation.after.strongest(names),
            work=work.find_work(observation),
            validated_constraints=tuple(filter(work.is_proof, observation.messages)),
            created_relations=frozenset(relation.name for oid, relation in present if oid not in self.known),
        )

    async def _xact_state(self) -> XactState:
        """Return the locks of the current transaction; a failed one accepts no query."""
        if not self.driver.is_in_transaction():
            return XactState()
        try:
            total, *rows = await self.reader.fetch(_HELD)
        except Exception as error:
            if sqlstate(error) != "25P02":
                raise
            return XactState()
        return XactState(
            modes={row["oid"]: frozenset(row["modes"]) for row in rows if row["modes"]},
            files={row["oid"]: row["file"] for row in rows},
            scans={row["oid"]: row["scans"] or 0 for row in rows},
            inserted={row["oid"]: row["written"] or 0 for row in rows},
            catalog_writes=total["written"],
        )

    async def _changes(self) -> tuple[Change, ...]:
        """Return the changes of the catalog since the last call."""
        await self._read_relations()
        before, self.catalog = self.catalog, await self.reader.snapshot()
        changes = changes_between(before, self.catalog) if before is not None else ()
        return tuple(
            change for change in changes if change.op is not Op.CHANGED or change.fields.keys() - _POSITION
        )

    def _replaced(self, files: Mapping[int, int | None]) -> frozenset[int]:
        """Return the tables whose file is new, and remember the new files."""
        replaced = frozenset(
            oid
            for oid, file in files.items()
            if self._files.get(oid, file) != file and oid in self.present and self.present[oid].has_rows
        )
        self._files.update(files)
        return replaced

    async def _observe(
        self, pending: PendingStatement, after: XactState, messages: tuple[str, ...], replaced: frozenset[int]
    ) -> work.Observation:
        sql = pending.traced.sql
        notices = work.parse_messages(messages)
        constraints = [notice.constraint for notice in notices if notice.constraint]
        owners: dict[str, tuple[int, ...]] = {}
        for row in await self.reader.fetch(_FOREIGN_KEYS, constraints) if constraints else ():
            owners[row["name"]] = (*owners.get(row["name"], ()), row["oid"])
        write, autocommit = work.classify_write(sql), work.classify_autocommit(sql)
        hidden = write is not None and write.hidden
        target = await self._oid(write.target) if write and write.target else None
        named = [await self._oid(name) for name in autocommit[1]] if autocommit else []
        bodies = await self._bodies(sql) if hidden else ""
        nested = [(await self._oid(write.relation), write) for write in work.nested_writes(sql, bodies)]
        return work.Observation(
            sql,
            messages,
            self.known,
            self.present,
            pending.before,
            after,
            replaced=replaced,
            foreign_keys=owners,
            target=target,
            named=frozenset(filter(None, named)),
            bodies=bodies,
            nested=[(oid, write) for oid, write in nested if oid is not None and hidden],
            fired=await self._fired(sql, nested if hidden else (), after.modes),
        )

    async def _fired(
        self, sql: str, nested: Sequence[tuple[int | None, Work]], modes: Mapping[int, frozenset[str]]
    ) -> list[tuple[int, Work]]:
        """Return the writes of triggers, which fire only for rows, and of foreign keys with an action."""
        written = work.written_table(sql)
        own = [(await self._oid(written[1]), written[0], sql)] if written is not None else []
        found: dict[tuple[int, Work], None] = {}
        writes = [*own, *((oid, write.task, write.sql) for oid, write in nested)]
        for oid, task, text in dict.fromkeys(write for write in writes if write[0] is not None):
            several = any(mentions(sql, word) for word in ("MERGE", "CONFLICT"))
            events = _EVENTS[task] | (_EVENTS[Task.INSERT] | _EVENTS[Task.UPDATE] if several else 0)
            rows = await self.reader.fetch(_TRIGGERS, oid, events)
            found |= dict.fromkeys(await self._writes(row for row in rows if _concerns(row, task, text)))
            deletes = task is Task.DELETE
            rows = await self.reader.fetch(_ACTIONS, oid, deletes) if deletes or task is Task.UPDATE else ()
            for row in (row for row in rows if _concerns(row, task, text)):
                done = Task.DELETE if row["sql"].startswith("DELETE") else Task.UPDATE
                found[row["oid"], Work(done, "", row["sql"])] = None
        fired = await self._writes(() if writes else await self.reader.fetch(_EVENT_TRIGGERS))
        return [*found, *((oid, write) for oid, write in fired if "RowExclusiveLock" in modes.get(oid, ()))]

    async def _writes(self, functions: Iterable[Any]) -> list[tuple[int, Work]]:
        """Return what the functions of triggers write."""
        writes = (each for row in functions for each in work.fired_writes(row["body"], by_row=row["by_row"]))
        works = [(await self._oid(each.relation), each) for each in writes]
        return [(oid, each) for oid, each in works if oid is not None]

    async def _bodies(self, sql: str) -> str:
        """Return the text of the functions that a statement calls, and of those that they call."""
        known: dict[str, str] = {}
        names = work.called_functions(sql)
        if prepared := work.executed_name(sql):
            known |= {prepared: await self.driver.fetchval(_PREPARED, prepared) or ""}
        while names:
            rows = await self.reader.fetch(_BODIES, sorted(names))
            known |= {row["name"]: row["body"] for row in rows}
            names = frozenset().union(*(work.called_functions(row["body"]) for row in rows)) - known.keys()
        return "\n".join(known.values())

    async def _oid(self, name: str) -> int | None:
        [(oid,)] = await self.reader.fetch(_OID, name)
        return None if oid is None else int(oid)

    def _locks_by_kind(self, traced: TracedStatement, named: frozenset[int]) -> dict[str, Lock]:
        """Return the locks of a statement that has released them by a commit, as documented for its kind."""
        autocommit = work.classify_autocommit(traced.sql)
        if autocommit is None:
            return {}
        names = {self.known[oid].name for oid in named if oid in self.known}
        names |= {piece.relation for piece in traced.work}
        names |= {change.owner.identity for change in traced.changes if change.owner is not None}
        names &= {relation.name for relation in self.known.values()}
        return dict.fromkeys(sorted(names), autocommit[0])

    async def _read_relations(self) -> None:
        """Read all relations of users, without indexes, Alembic's table and the journal."""
        rows = await self.reader.fetch(_RELATIONS, self.settings.version_table)
        self.present = {row["oid"]: TracedRelation(*row) for row in rows}


def _concerns(row: Any, task: Task, sql: str) -> bool:
    """Return whether a statement fires a trigger or foreign key; an UPDATE has to set one of its columns."""
    columns = row["columns"] if task is Task.UPDATE else ()
    return not columns or any(work.assigns(sql, column) for column in columns)
