"""Keeping and putting back as part of a run of the executor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, TypeGuard

from circle_migrate.core.errors import MigrationFailed, MissingPrivilege, Refused
from circle_migrate.migrate.alembic_adapter.context import one_at_a_time
from circle_migrate.migrate.kept_data import registry
from circle_migrate.migrate.kept_data.copy import Copy, copy, record_kept_rows
from circle_migrate.migrate.kept_data.entry import KeptEntry, KeptKind, KeptRowCount, KeptState
from circle_migrate.migrate.kept_data.restore import restore_rows
from circle_migrate.migrate.kept_data.tables import TablesState, find_losses, read_tables
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.database import KEPT_SCHEMA
from circle_migrate.postgres.identifier import quote
from circle_migrate.revision_graph.parse_file import NOT_IN_TRANSACTION
from circle_migrate.revision_graph.plan import Action, Direction, Plan, Segment, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


# What a step that commits by itself may do while nothing is kept: none of it changes a value.
_HARMLESS = re.compile(
    r"(?:BEGIN|COMMIT|(?:CREATE|DROP|ALTER)\s+(?:UNIQUE\s+)?INDEX\b|REINDEX\b|ANALYZE\b|VACUUM\b|COMMENT\s+ON\b"
    r"|(?:RE)?SET\b|ALTER\s+TABLE\s+\S+\s+VALIDATE\s+CONSTRAINT\b)",
    re.IGNORECASE,
)
_COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

_ABLE = """
SELECT CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege(n.oid, 'CREATE') END AS allowed,
       current_setting('track_counts')::bool AS counts, current_database() AS name, current_user AS role
FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1::text
"""


@dataclass(frozen=True, slots=True)
class _Copied:
    """The tables before a step that is running, what was copied of them, and where sequences that go were."""

    before: TablesState
    copies: Mapping[int, Copy]
    sequences: Mapping[tuple[str, str], int]


@dataclass(slots=True)
class KeepingHooks(Hooks):
    """Keeps what each step of a downgrade takes.

    A step that cannot run in a transaction gets one from here where only its upgrade needs to be without;
    one that needs it itself may do nothing to values, which its SQL has to show.
    """

    _run: MigrationRun | None = None
    _fitting: set[str] = field(default_factory=set)
    _copied: _Copied | None = None
    _rows: dict[int, list[KeptRowCount]] = field(default_factory=dict)
    _segment: int = 0

    @property
    def kept(self) -> tuple[KeptRowCount, ...]:
        """How many rows were kept of each table."""
        return tuple(kept_row_count for rows in self._rows.values() for kept_row_count in rows)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Refuse what could not be kept whatever it holds. Raises `Refused` and `MissingPrivilege`."""
        self._run = run
        at = dict(plan.current)
        for action in plan.actions:
            if _is_alone(action, Direction.DOWN):
                async with one_at_a_time():
                    if _fits_a_transaction(run, action, at[action.database]):
                        self._fitting.add(action.revision.qualified)
            at[action.database] = action.heads_after(
                run.deployment.forest.graphs[action.database], at[action.database]
            )
        for name in plan.databases:
            await _refuse_unable(run, name)

    def before_segment(self, number: int, segment: Segment) -> None:  # noqa: ARG002 - as declared
        """What an earlier try has copied was rolled back."""
        self._segment = number
        self._rows[number] = []
        self._copied = None

    def before_step(self, connection: Connection, action: Action) -> None:
        """See what the step takes, by running it up to a savepoint, and copy that."""
        if self._run is None or not _is_step(action, Direction.DOWN):
            return
        if action.revision.non_transactional_reason is not None:
            if action.revision.qualified not in self._fitting:
                return
            connection.begin()
        before = _see(self._run, connection, action)
        point = connection.begin_nested()
        try:
            runner = self._run.runners[action.database]
            runner.run(connection, action, self._run.current[action.database], lambda _connection: None)
            after = _see(self._run, connection, action)
        finally:
            point.rollback()
        registry.make(connection)
        run, revision = self._run.id, action.revision.id
        taken = find_losses(before, after)
        copies = {
            oid: copy(connection, action.database, run, revision, table_loss)
            for oid, table_loss in taken.items()
        }
        gone = [name for oid, name in before.sequences.items() if oid not in after.sequences]
        self._copied = _Copied(before, copies, _positions(connection, gone))

    def after_step(self, connection: Connection, action: Action) -> None:
        """Compare what the step has taken with what was copied, and put that on the list."""
        copied, self._copied = self._copied, None
        if self._run is None or copied is None or not _is_step(action, Direction.DOWN):
            return
        after = _see(self._run, connection, action)
        _refuse_uncovered(copied, after, action)
        for made in copied.copies.values():
            rows = record_kept_rows(connection, self._run.id, action.revision.id, made, after)
            if rows:
                table = made.going.table
                self._rows[self._segment].append(
                    KeptRowCount(action.database, action.revision.id, f"{table.schema}.{table.name}", rows)
                )
        for name, position in copied.sequences.items():
            registry.add(
                connection, self._run.id, action.revision.id, KeptKind.SEQUENCE, name, position=position
            )
        if action.revision.non_transactional_reason is not None:
            _commit(connection)


@dataclass(slots=True)
class RestoringHooks(Hooks):
    """Puts back, after each step of an upgrade, what the last downgrade over its revision has kept.

    Where a step has no transaction of its own, what was kept comes back in one of its own right after it.
    """

    wanted: bool = True
    _run: MigrationRun | None = None
    _kept: dict[str, list[KeptEntry]] = field(default_factory=dict)
    _rows: dict[int, list[KeptRowCount]] = field(default_factory=dict)
    _segment: int = 0

    @property
    def restored(self) -> tuple[KeptRowCount, ...]:
        """How many rows were put back into each table; 0 of all that were left where they are."""
        return tuple(kept_row_count for rows in self._rows.values() for kept_row_count in rows)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Find what was kept of the revisions to come."""
        self._run = run
        for name in plan.databases:
            kept = await registry.listed(run.sessions[name].driver, name)
            for step in plan.steps(name):
                self._kept[step.revision.qualified] = last_kept(kept, step.revision.id)

    def before_segment(self, number: int, segment: Segment) -> None:  # noqa: ARG002 - as declared
        """What an earlier try has put back was rolled back."""
        self._segment = number
        self._rows[number] = []

    def after_step(self, connection: Connection, action: Action) -> None:
        """Put back what was kept of the revision."""
        if self._run is None or not _is_step(action, Direction.UP):
            return
        kept = self._kept.get(action.revision.qualified)
        if not kept:
            return
        if not self.wanted:
            self._rows[self._segment] += [
                KeptRowCount(action.database, action.revision.id, kept_entry.name, 0, kept_entry.rows)
                for kept_entry in kept
                if kept_entry.rows
            ]
            return
        if action.revision.non_transactional_reason is not None:
            connection.begin()
        self._rows[self._segment] += restore(self._run, connection, action.database, kept)
        if action.revision.non_transactional_reason is not None:
            _commit(connection)


def last_kept(kept: Sequence[KeptEntry], revision: str) -> list[KeptEntry]:
    """What the last run over a revision that kept anything has kept of it, and nobody has settled."""
    open_ones = [
        kept_entry
        for kept_entry in kept
        if kept_entry.revision == revision and kept_entry.state is KeptState.KEPT
    ]
    return [kept_entry for kept_entry in open_ones if kept_entry.run == open_ones[-1].run]


def restore(
    run: MigrationRun, connection: Connection, database: str, kept: Sequence[KeptEntry]
) -> list[KeptRowCount]:
    """Put entries of a database back, in the connection's transaction. Raises `MigrationFailed`."""
    settings = run.deployment.databases[database].settings
    done = restore_rows(connection, kept, run.states[database].schema, settings.version_table)
    return [
        KeptRowCount(
            database, restored.entry.revision, restored.entry.name, restored.restored, restored.missing
        )
        for restored in done
        if restored.entry.rows
    ]


def _is_step(action: Action, direction: Direction) -> TypeGuard[Step]:
    return isinstance(action, Step) and action.direction is direction


def _is_alone(action: Action, direction: Direction) -> TypeGuard[Step]:
    return _is_step(action, direction) and action.revision.non_transactional_reason is not None


def _see(run: MigrationRun, connection: Connection, action: Step) -> TablesState:
    settings = run.deployment.databases[action.database].settings
    return read_tables(connection, run.states[action.database].schema, settings.version_table)


def _commit(connection: Connection) -> None:
    transaction = connection.get_transaction()
    if transaction is not None:
        transaction.commit()


def _positions(connection: Connection, sequences: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Where sequences are; those that have not given out anything are where they will be."""
    found = {}
    for schema, name in sequences:
        query = f"SELECT last_value FROM {quote(schema)}.{quote(name)} WHERE is_called"
        position = connection.exec_driver_sql(query).scalar_one_or_none()
        if position is not None:
            found[schema, name] = int(position)
    return found


def _refuse_uncovered(copied: _Copied, after: TablesState, action: Step) -> None:
    for oid, taken in find_losses(copied.before, after).items():
        if oid not in copied.copies or not copied.copies[oid].going.covers(taken):
            table = f"{taken.table.schema}.{taken.table.name}"
            raise MigrationFailed(
                f"{action.database}: {action.revision.id} took more of {table} than when it was tried before",
                database=action.database,
                state="the transaction of this step was rolled back",
                hint="run the same command again",
            )


async def _refuse_unable(run: MigrationRun, name: str) -> None:
    """Where the role may not make side tables, or the server does not count what a step deletes."""
    row = await run.sessions[name].driver.fetchrow(_ABLE, KEPT_SCHEMA)
    if not row["allowed"]:
        raise MissingPrivilege(
            f"{name}: the role {row['role']!r} may not make tables in the schema {KEPT_SCHEMA}",
            database=name,
            state="nothing was changed",
            hint=f"GRANT CREATE ON DATABASE {quote(row['name'])} TO {quote(row['role'])};",
        )
    if not row["counts"]:
        raise Refused(
            f"{name}: the server counts no rows, so that nobody would notice those that a step deletes",
            database=name,
            state="nothing was changed",
            hint="set track_counts = on, or leave out --keep and take a backup",
        )


def _fits_a_transaction(run: MigrationRun, step: Step, at: tuple[str, ...]) -> bool:
    """Whether the way down needs none of what keeps the revision out of transactions.

    Raises `Refused` where it does, and may change values, which then could be kept only after they are gone.
    """
    output = StringIO()
    try:
        run.runners[step.database].render(Segment((step,), transactional=False), at, output)
    except Refused as error:
        statements = [error.message]
    else:
        statements = [each.strip() for each in _COMMENTS.sub("", output.getvalue()).split(";")]
        if statements.count("COMMIT") == 1 and not NOT_IN_TRANSACTION.search(output.getvalue()):
            return True
    table = run.deployment.databases[step.database].settings.version_table
    harmful = [
        statement
        for statement in statements
        if statement and not _HARMLESS.match(statement) and table not in statement
    ]
    if harmful:
        raise Refused(
            f"{step.revision.qualified} commits by itself on its way down, and nothing can be kept with it: "
            f"{harmful[0]}",
            database=step.database,
            location=step.revision.location,
            state="nothing was changed",
            hint="downgrade to right above it with --keep, then past it without",
        )
    return False
