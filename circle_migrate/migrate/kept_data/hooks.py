"""Hooks of the executor that keep and restore data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import StringIO
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from sqlalchemy.util import await_only

from circle_migrate.core.errors import MigrationFailed, MissingPrivilege, Refused
from circle_migrate.migrate.alembic_adapter.autocommit import needs_autocommit
from circle_migrate.migrate.alembic_adapter.context import OutsideTransaction, proxies_lock
from circle_migrate.migrate.kept_data import registry
from circle_migrate.migrate.kept_data.copy import Copy, copy, record_kept_rows
from circle_migrate.migrate.kept_data.registry import KeptEntry, KeptKind, KeptRowCount, KeptState
from circle_migrate.migrate.kept_data.restore import restore_rows
from circle_migrate.migrate.kept_data.tables import TablesState, find_losses, read_tables
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.migrate.session import check_constraints
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.journal_tables import KEPT_SCHEMA
from circle_migrate.postgres.sql_text import split_statements
from circle_migrate.revision_graph.plan import Action, Direction, Plan, Segment, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.revision_graph.revision import Revision

# Statements that change no value; a downgrade that commits by itself may run them although nothing is kept.
_HARMLESS = re.compile(
    r"(?:BEGIN|COMMIT|(?:CREATE|DROP|ALTER)\s+(?:UNIQUE\s+)?INDEX\b|REINDEX\b|ANALYZE\b|VACUUM\b|COMMENT\s+ON\b"
    r"|(?:RE)?SET\b|ALTER\s+TABLE\s+\S+\s+VALIDATE\s+CONSTRAINT\b)",
    re.IGNORECASE,
)

_CAPABILITIES = """
SELECT CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege(n.oid, 'CREATE') END AS allowed,
       current_setting('track_counts')::bool AS counts, current_database() AS name, current_user AS role
FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1::text
"""


class _CopiedData(NamedTuple):
    """The tables before the running step, the copies, and the positions of sequences that will be dropped."""

    before: TablesState
    copies: Mapping[int, Copy]
    positions: Mapping[tuple[str, str], int]


@dataclass(slots=True)
class _CountHooks(Hooks):
    """Hooks that count rows by segment, as a segment that is rolled back starts again."""

    _run: MigrationRun | None = field(default=None, init=False)
    _counts: dict[int, list[KeptRowCount]] = field(default_factory=dict, init=False)
    _segment: int = field(default=0, init=False)

    def before_segment(self, number: int, segment: Segment) -> None:  # noqa: ARG002 - as declared
        """Forget the counts of an earlier attempt, which was rolled back."""
        self._segment = number
        self._counts[number] = []

    @property
    def counts(self) -> tuple[KeptRowCount, ...]:
        """The numbers of kept, or of restored and missing rows by table."""
        return tuple(count for counts in self._counts.values() for count in counts)


@dataclass(slots=True)
class KeepHooks(_CountHooks):
    """Hooks that keep the data that the steps of a downgrade remove.

    A downgrade step whose upgrade alone cannot run in a transaction gets a transaction here. One that cannot
    run in a transaction itself must not change values, as its rendered SQL shows.
    """

    _transactional: set[str] = field(default_factory=set, init=False)
    _copied: _CopiedData | None = field(default=None, init=False)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Raise `Refused` or `MissingPrivilege` where data could not be kept."""
        self._run = run
        current = dict(plan.current)
        for action in plan.actions:
            name = action.database
            if _is_step(action, Direction.DOWN) and action.revision.non_transactional_reason is not None:
                with proxies_lock:
                    if _can_be_transactional(run, action, current[name]):
                        self._transactional.add(action.revision.qualified)
            current[name] = action.heads_after(run.deployment.combined_graph.graphs[name], current[name])
        for name in plan.databases:
            await _ensure_can_keep(run, name)

    def before_step(self, connection: Connection, action: Action) -> None:
        """Run the step up to a savepoint to learn which data it removes, and copy the data."""
        self._copied = None
        if self._run is None or not _is_step(action, Direction.DOWN):
            return
        if action.revision.non_transactional_reason is not None:
            if action.revision.qualified not in self._transactional:
                return
            connection.begin()
        before = _read_state(self._run, connection, action.database)
        runner = self._run.runners[action.database]
        savepoint = connection.begin_nested()
        try:
            runner.run(connection, action, self._run.current[action.database])
            after = _read_state(self._run, connection, action.database)
        finally:
            savepoint.rollback()
            runner.has_deferrable = True  # the rollback may restore some
        registry.ensure_tables(connection)
        copies = {
            oid: copy(connection, action.database, self._run.id, action.revision.id, loss)
            for oid, loss in find_losses(before, after).items()
        }
        dropped = [name for oid, name in before.sequences.items() if oid not in after.sequences]
        self._copied = _CopiedData(before, copies, _positions(connection, dropped))

    def after_step(self, connection: Connection, action: Action) -> None:
        """Compare the data that the step removed with the copies, and record what is kept."""
        data = self._copied
        if self._run is None or data is None or not _is_step(action, Direction.DOWN):
            return
        run, revision = self._run.id, action.revision.id
        after = _read_state(self._run, connection, action.database)
        _ensure_copied(data, after, action)
        for table_copy in data.copies.values():
            rows = record_kept_rows(connection, run, revision, table_copy, after)
            if rows:
                count = KeptRowCount(action.database, revision, table_copy.loss.table.label, rows)
                self._counts[self._segment].append(count)
        for sequence, position in data.positions.items():
            registry.add_entry(connection, run, revision, KeptKind.SEQUENCE, sequence, position=position)
        if action.revision.non_transactional_reason is not None:
            connection.commit()


@dataclass(slots=True)
class RestoreKeptHooks(_CountHooks):
    """Hooks that restore, after every step of an upgrade, what the last downgrade of its revision kept.

    Where a step cannot run in a transaction, the data is restored in one after it. Unless `wanted`, the data
    is left in its side tables, and counted as missing.
    """

    wanted: bool = True
    _kept: dict[str, list[KeptEntry]] = field(default_factory=dict, init=False)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Read the entries of the plan's revisions."""
        self._run = run
        for name in plan.databases:
            entries = await registry.fetch_entries(run.sessions[name].driver, name)
            for action in plan.actions:
                if action.database == name and (revision := _applied(action)):
                    # A squashed revision also does what those did that it replaces.
                    kept = (_last_kept(entries, key) for key in (*revision.replaces, revision.id))
                    self._kept[revision.qualified] = list(chain.from_iterable(kept))

    def act_on(self, action: Action) -> bool:
        """Return whether data was kept of the revision."""
        revision = _applied(action)
        return revision is not None and bool(self._kept.get(revision.qualified))

    def after_step(self, connection: Connection, action: Action) -> None:
        """Restore the data that was kept of the revision."""
        revision = _applied(action)
        if self._run is None or revision is None:
            return
        entries = self._kept.get(revision.qualified)
        if not entries:
            return
        if not self.wanted:
            self._counts[self._segment] += [
                KeptRowCount(action.database, revision.id, entry.name, 0, entry.rows)
                for entry in entries
                if entry.rows
            ]
            return
        is_outside = isinstance(action, Step) and revision.non_transactional_reason is not None
        if is_outside:
            connection.begin()
        self._counts[self._segment] += restore_entries(self._run, connection, action.database, entries)
        if is_outside:
            connection.commit()
        else:  # later steps defer constraints again
            await_only(check_constraints(self._run.sessions[action.database].driver, before_commit=False))


def _last_kept(entries: Sequence[KeptEntry], revision: str) -> list[KeptEntry]:
    """Return the entries of the revision in state KEPT, of the last run that has any."""
    kept = [entry for entry in entries if entry.revision == revision and entry.state is KeptState.KEPT]
    return [entry for entry in kept if entry.run == kept[-1].run]


def _applied(action: Action) -> Revision | None:
    """Return the revision that is applied, also a squashed one that an upgrade only records."""
    if isinstance(action, Step):
        return action.revision if action.direction is Direction.UP else None
    return next((revision for revision in action.claimed if revision.replaces), None)


def restore_entries(
    run: MigrationRun, connection: Connection, database: str, entries: Sequence[KeptEntry]
) -> tuple[KeptRowCount, ...]:
    """Restore entries of a database in the connection's transaction. Raises `MigrationFailed`."""
    return restore_rows(connection, entries, _read_state(run, connection, database))


def _is_step(action: Action, direction: Direction) -> TypeGuard[Step]:
    return isinstance(action, Step) and action.direction is direction


def _read_state(run: MigrationRun, connection: Connection, database: str) -> TablesState:
    return read_tables(connection, run.states[database].schema, run.runners[database].table.name)


def _positions(connection: Connection, sequences: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return the last values of the sequences that have been used."""
    positions = {}
    for schema, name in sequences:
        query = f"SELECT last_value FROM {quote(schema)}.{quote(name)} WHERE is_called"
        position = connection.exec_driver_sql(query).scalar_one_or_none()
        if position is not None:
            positions[schema, name] = int(position)
    return positions


def _ensure_copied(data: _CopiedData, after: TablesState, action: Step) -> None:
    for oid, loss in find_losses(data.before, after).items():
        if oid not in data.copies or not data.copies[oid].loss.covers(loss):
            raise MigrationFailed(
                f"{action.database}: {action.revision.id} removed more data of {loss.table.label} "
                "than its trial run",
                database=action.database,
                state="the transaction of this step was rolled back",
                hint="run the same command again",
            )


async def _ensure_can_keep(run: MigrationRun, name: str) -> None:
    """Raise an error where the role may not create side tables or the server does not count deleted rows."""
    row = await run.sessions[name].driver.fetchrow(_CAPABILITIES, KEPT_SCHEMA)
    if not row["allowed"]:
        raise MissingPrivilege(
            f"{name}: the role {row['role']} may not create tables in the schema {KEPT_SCHEMA}",
            database=name,
            state="nothing was changed",
            hint=f"GRANT CREATE ON DATABASE {quote(row['name'])} TO {quote(row['role'])};",
        )
    if not row["counts"]:
        raise Refused(
            f"{name}: the server does not count rows (track_counts = off), "
            "so deleted rows cannot be detected and kept",
            database=name,
            hint="set track_counts = on, or leave out --keep and make a backup",
        )


def _can_be_transactional(run: MigrationRun, step: Step, current: tuple[str, ...]) -> bool:
    """Return whether the downgrade can run in a transaction; raise `Refused` if not and it changes values."""
    runner = run.runners[step.database]
    output = StringIO()
    try:
        with suppress(OutsideTransaction):
            runner.render(Segment((step,), transactional=True), current, output, owned=True)
            sql = output.getvalue()
            if not needs_autocommit(sql) and "COMMIT" not in split_statements(sql):
                return True
        output = StringIO()
        runner.render(Segment((step,), transactional=False), current, output)
        statements = split_statements(output.getvalue())
    except Refused as error:
        statements = [error.message]
    table = runner.table.name
    for statement in statements:
        if not _HARMLESS.match(statement) and table not in statement:
            raise Refused(
                f"the downgrade of {step.revision.qualified} commits by itself, "
                f"so the data that it removes cannot be kept: {statement}",
                database=step.database,
                location=step.revision.location,
                hint=f"downgrade to {step.revision.qualified} with --keep, then below it without --keep",
            )
    return False
