"""A connection to a scratch database that observes the locks, work and changes of each statement."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.postgres.catalog.reader import CatalogReader
from circle_migrate.postgres.catalog.snapshot import Change, Op, Snapshot, changes_between
from circle_migrate.postgres.server_errors import sqlstate
from circle_migrate.postgres.sql_text import (
    DEALLOCATES,
    compile_pattern,
    mentions,
    without_comments_and_literals,
)
from circle_migrate.safety.trace import queries, work
from circle_migrate.safety.trace.record import (
    Lock,
    ServerError,
    Task,
    TracedRelation,
    TracedStatement,
    Work,
    XactState,
)

# Statements whose effects no count of written rows shows, perhaps in a function that they call.
_ROLLS_BACK = compile_pattern(r"[\s(]*(?:ROLLBACK|ABORT)\b")
_POSITION = {"position"}
"""The field that changes for the columns after a dropped one."""


@dataclass(slots=True)
class PendingStatement:
    """A statement that is running, the locks held before it, and the transaction begun for it alone."""

    traced: TracedStatement
    before: XactState
    own_transaction: Any = None
    was_current: bool = False


@dataclass(slots=True)
class TracedConnection:
    """A connection, with the relations before the plan (`known`) and now (`present`) by oid.

    `is_current` holds while `catalog` is that of the server. `state` is that of the transaction after its
    last statement, None if anything was sent since then that may have changed it. `send_later` is that of
    the adapter.
    """

    driver: asyncpg.Connection
    settings: DatabaseSettings
    send_later: Callable[[str], bool] | None = None
    reader: CatalogReader = field(init=False)
    known: dict[int, TracedRelation] = field(default_factory=dict)
    present: dict[int, TracedRelation] = field(default_factory=dict)
    catalog: Snapshot | None = None
    is_current: bool = False
    state: XactState | None = None
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
        self.is_current = True

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
        before = self.state or await self._xact_state()
        self._messages.clear()
        was_current, self.is_current, self.state = self.is_current, False, None
        return PendingStatement(traced, before, transaction, was_current)

    async def after_statement(self, pending: PendingStatement) -> TracedStatement:
        """Return a completed statement with its locks, work and changes."""
        committed = not self.driver.is_in_transaction()
        if DEALLOCATES.match(without_comments_and_literals(pending.traced.sql)):
            await self.reader.forget_deallocated()
        after = await self._xact_state()
        messages = tuple(self._messages)
        changes: tuple[Change, ...] = ()
        named = self.present
        has_changed = committed or after.catalog_writes != pending.before.catalog_writes
        if has_changed and (committed or not pending.was_current or after.names != pending.before.names):
            await self._read_relations()
        files = {oid: relation.file for oid, relation in self.present.items()} if committed else after.files
        observation = await self._observe(pending, after, messages, self._replaced(files))
        if has_changed:
            alone = committed or pending.own_transaction is not None
            changes = await self._changes(None if alone else self.send_later)
            self.is_current = True
        else:
            text = without_comments_and_literals(pending.traced.sql)
            self.is_current = pending.was_current and _ROLLS_BACK.match(text) is None
        # To print the body of a function locks its relations.
        if not committed and pending.own_transaction is None and not observation.bodies:
            self.state = after
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
            total, *rows = await self.reader.fetch(queries.HELD)
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
            names=total["named"],
            has_event_triggers=total["event_triggers"],
        )

    async def _changes(self, send_later: Callable[[str], bool] | None) -> tuple[Change, ...]:
        """Return the changes of the catalog since the last call."""
        before, self.catalog = self.catalog, await self.reader.snapshot(send_later)
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
        for row in await self.reader.fetch(queries.FOREIGN_KEYS, constraints) if constraints else ():
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
            fired=await self._fired(sql, nested if hidden else (), after),
        )

    async def _fired(
        self, sql: str, nested: Sequence[tuple[int | None, Work]], after: XactState
    ) -> list[tuple[int, Work]]:
        """Return the writes of triggers, which fire only for rows, and of foreign keys with an action."""
        written = work.written_table(sql)
        own = [(await self._oid(written[1]), written[0], sql)] if written is not None else []
        found: dict[tuple[int, Work], None] = {}
        writes = [*own, *((oid, write.task, write.sql) for oid, write in nested)]
        for oid, task, text in dict.fromkeys(write for write in writes if write[0] is not None):
            several = any(mentions(sql, word) for word in ("MERGE", "CONFLICT"))
            events = queries.EVENTS[task] | (
                queries.EVENTS[Task.INSERT] | queries.EVENTS[Task.UPDATE] if several else 0
            )
            rows = await self.reader.fetch(queries.TRIGGERS, oid, events)
            found |= dict.fromkeys(await self._writes(row for row in rows if _concerns(row, task, text)))
            deletes = task is Task.DELETE
            rows = (
                await self.reader.fetch(queries.ACTIONS, oid, deletes)
                if deletes or task is Task.UPDATE
                else ()
            )
            for row in (row for row in rows if _concerns(row, task, text)):
                done = Task.DELETE if row["sql"].startswith("DELETE") else Task.UPDATE
                found[row["oid"], Work(done, "", row["sql"])] = None
        if writes or not after.has_event_triggers:
            return list(found)
        fired = await self._writes(await self.reader.fetch(queries.EVENT_TRIGGERS))
        return [*found, *(one for one in fired if "RowExclusiveLock" in after.modes.get(one[0], ()))]

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
            known |= {prepared: await self.driver.fetchval(queries.PREPARED, prepared) or ""}
        while names:
            rows = await self.reader.fetch(queries.BODIES, sorted(names))
            known |= {row["name"]: row["body"] for row in rows}
            names = frozenset().union(*(work.called_functions(row["body"]) for row in rows)) - known.keys()
        return "\n".join(known.values())

    async def _oid(self, name: str) -> int | None:
        [(oid,)] = await self.reader.fetch(queries.OID, name)
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
        rows = await self.reader.fetch(queries.RELATIONS, self.settings.version_table)
        self.present = {row["oid"]: TracedRelation(*row) for row in rows}


def _concerns(row: Any, task: Task, sql: str) -> bool:
    """Return whether a statement fires a trigger or foreign key; an UPDATE has to set one of its columns."""
    columns = row["columns"] if task is Task.UPDATE else ()
    return not columns or any(work.assigns(sql, column) for column in columns)
