"""Predict what a downgrade does to rows, by its trace and probes, and to matching rows of other databases."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import asyncpg

from circle_migrate.config.relation import ColumnReference, Relation, Side
from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.bounded_read import QueryError, open_live_query
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Op
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import split_identity, unquote_and_fold
from circle_migrate.postgres.key_column import KeyColumn, find_column
from circle_migrate.safety.live_database.catalog import object_usage
from circle_migrate.safety.live_database.column import OWN_EXPRESSION
from circle_migrate.safety.live_database.probes import derive_probes, run_probes
from circle_migrate.safety.live_database.record import Answer, ProbeKind
from circle_migrate.safety.losses.report import Count, Dependents, Effect, Loss, LossNamer, Precision
from circle_migrate.safety.trace.record import Task, TracedStatement

REHEARSE = "only a rehearsal can count the rows (--rehearse)"
"""Why rows that a revision's own statements change are not counted."""

TRUNCATED = "TRUNCATE"
"""The detail of a loss of all rows of a table by TRUNCATE."""

_REJECTED = {ProbeKind.NULLS, ProbeKind.DUPLICATES, ProbeKind.ORPHANS, ProbeKind.VIOLATIONS}
_REPORTED = _REJECTED | {ProbeKind.UNCASTABLE, ProbeKind.TOO_LONG, ProbeKind.CUT}
_WRITING = {Task.DELETE: Effect.DELETED, Task.UPDATE: Effect.UPDATED, Task.TRUNCATE: Effect.DELETED}
# Conversions without an expression are counted by probes, without a rehearsal.
_OWN_EXPRESSION = re.compile(r"\bUSING\b", re.IGNORECASE)
_COLUMN = """
SELECT a.attrelid::bigint AS relation, a.attnum AS number,
       ARRAY(SELECT unnest(indkey::int2[]) FROM pg_catalog.pg_index
             WHERE indrelid = a.attrelid AND indisprimary) AS key
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = to_regclass($1) AND quote_ident(a.attname) = $2
  AND has_database_privilege(current_database(), 'TEMPORARY')
"""
_NAMES = """
SELECT (SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::bigint::oid) AS relation,
       ARRAY(SELECT quote_ident(a.attname) FROM unnest($2::int2[]) WITH ORDINALITY AS asked (number, position)
             JOIN pg_catalog.pg_attribute a
               ON a.attrelid = $1::bigint::oid AND a.attnum = asked.number AND NOT a.attisdropped
             ORDER BY position) AS columns
"""


def predict_row_losses(
    namers: Mapping[str, LossNamer], statements: Sequence[TracedStatement]
) -> Iterator[Loss]:
    """Yield the tables whose rows these statements delete or change, once per revision."""
    writes = {
        (statement.database, work.relation, _WRITING[work.task], statement.revision, work.task)
        for statement in statements
        for work in statement.work
        if work.task in _WRITING and work.relation not in statement.created_relations
    }
    writes |= {  # code that deletes, after it got rows, is assumed to delete those
        (statement.database, relation, Effect.DELETED, statement.revision, Task.DELETE)
        for statement in statements
        if statement.read_by_code
        for relation in statement.relations_in_text
    }
    for database, relation, effect, revision, task in sorted(writes):
        detail, unknown = (TRUNCATED, "") if task is Task.TRUNCATE else ("", REHEARSE)
        loss = namers[database].loss(ObjectKey("table", relation), effect, revision, detail)
        yield replace(loss, unknown=unknown)


async def predict_value_losses(
    databases: Mapping[str, Database], namers: Mapping[str, LossNamer], statements: Sequence[TracedStatement]
) -> list[Loss]:
    """Return the values these statements alter and rows constraints reject. Raises what connecting raises."""
    usage = {name: await object_usage(database) for name, database in databases.items()}
    reported = [
        # Truncated values are counted as they are now, even if the revision changes rows before.
        replace(probe, fixed_by="") if probe.kind is ProbeKind.CUT else probe
        for probe in derive_probes(statements, usage)
        if probe.kind in _REPORTED
    ]
    losses: list[Loss] = []
    for name, database in databases.items():
        answers = await run_probes(database, [probe for probe in reported if probe.database == name])
        losses += (
            _loss(namers[name], answer, statements[answer.probe.statement])
            for answer in answers
            # Rows that the revision changes before are already a loss by its own statements.
            if answer.count != 0 and not answer.probe.fixed_by
        )
    return losses


def _loss(namer: LossNamer, answer: Answer, statement: TracedStatement) -> Loss:
    probe = answer.probe
    change = next((change for change in statement.changes if change.key.identity == probe.subject), None)
    kind = change.key.kind if change else "column"
    identity = f"{probe.relation}.{split_identity(probe.subject)[-1]}" if kind == "column" else probe.subject
    altered = probe.kind is ProbeKind.CUT or answer.why == OWN_EXPRESSION
    old, new = change.fields.get("type", (None, None)) if change else (None, None)
    types = f"type: {old} -> {new}" if kind == "column" and old and new else ""
    loss = namer.loss(
        ObjectKey(kind, identity),
        Effect.NARROWED if altered else Effect.REJECTED,
        revision=statement.revision,
        detail=", ".join(filter(None, (types, "" if altered else str(probe.kind)))),
    )
    if answer.count is None:
        return replace(loss, unknown=answer.why)
    precision = Precision.AT_LEAST if answer.more else Precision.EXACT
    return replace(loss, rows=Count(answer.count, precision))


async def with_cross_database_rows(
    deployment: Deployment, relations: Sequence[Relation], losses: Sequence[Loss]
) -> tuple[Loss, ...]:
    """Add the rows of other databases that would lose their matching row and are not lost themselves."""
    pairs = list(_unmatched_columns(relations, losses))
    wanted = dict.fromkeys(column for loss, column in pairs if not _is_partial(loss))
    counted: dict[ColumnReference, Dependents] = {}
    for name in dict.fromkeys(column.database for column in wanted):
        columns = [column for column in wanted if column.database == name]
        counted |= await _count_rows(deployment.databases[name], columns)
    dependents: dict[Loss, tuple[Dependents, ...]] = {}
    for loss, column in pairs:
        unknown = Dependents(str(column), why="which rows are deleted is not known")
        rows = unknown if _is_partial(loss) else counted[column]
        dependents[loss] = (*dependents.get(loss, ()), rows)
    return tuple(replace(loss, dependents=dependents.get(loss, ())) for loss in losses)


def _unmatched_columns(
    relations: Sequence[Relation], losses: Sequence[Loss]
) -> Iterator[tuple[Loss, ColumnReference]]:
    """Yield losses with the column whose rows would be left without a matching row."""
    for relation in relations:
        for side in Side:
            column, matching = relation.columns[side], relation.columns[side.other]
            if not any(_is_loss_of(loss, matching) for loss in losses):
                destroyed = (loss for loss in losses if loss.destroys_data and _is_loss_of(loss, column))
                yield from ((loss, matching) for loss in destroyed)


def _is_loss_of(loss: Loss, column: ColumnReference) -> bool:
    """Return whether a loss is of a column, or of rows of its table."""
    if loss.effect not in (Effect.DROPPED, Effect.DELETED) or loss.kind not in ("table", "column"):
        return False
    names = tuple(filter(None, (column.schema, column.table, column.name if loss.kind == "column" else "")))
    identity = tuple(map(unquote_and_fold, split_identity(loss.identity)))
    return loss.database == column.database and identity[-len(names) :] == names


def _is_partial(loss: Loss) -> bool:
    return loss.effect is Effect.DELETED and loss.detail != TRUNCATED


async def _count_rows(
    database: Database, columns: Sequence[ColumnReference]
) -> dict[ColumnReference, Dependents]:
    """Count the rows of each column over one connection."""
    counted: dict[ColumnReference, Dependents] = {}
    try:
        async with open_live_query(database) as live:
            for column in columns:
                try:
                    key = await find_column(live.connection, column)
                    if not isinstance(key, KeyColumn):
                        counted[column] = Dependents(str(column), why=str(key))
                        continue
                    [row] = await live.rows(f"SELECT count({key.name}) AS rows FROM {key.relation}")  # noqa: S608
                    counted[column] = Dependents(str(column), Count(row["rows"]))
                except (MigrateError, QueryError) as error:
                    counted[column] = Dependents(str(column), why=str(error))
    except MigrateError as error:
        unread = (column for column in columns if column not in counted)
        counted |= {column: Dependents(str(column), why=str(error)) for column in unread}
    return counted


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy of a column's values in `table`; `numbers` are those of the column and of the primary key."""

    identity: str
    table: str
    relation: int
    numbers: tuple[int, ...]


@dataclass(slots=True)
class TypeConversionProbe:
    """A comparison of columns that steps convert by an expression, in tables whose primary key lacks them."""

    statements: Iterable[TracedStatement]
    _copies: list[_Copy] = field(default_factory=list)

    async def before(self, driver: asyncpg.Connection, database: str, revision: str) -> None:
        """Copy the values, in the transaction of the step and before it."""
        self._copies = []
        for number, (table, identity) in enumerate(sorted(self._columns(database, revision))):
            column = split_identity(identity)[-1]
            row = await driver.fetchrow(_COLUMN, table, column)
            if row is None or not row["key"] or row["number"] in row["key"]:
                continue
            numbers = (row["number"], *row["key"])
            copy = _Copy(identity, f"pg_temp.circle_retyped_{number}", row["relation"], numbers)
            names = await _current_names(driver, copy)
            if names is not None:
                values = f"{names[1]} AS key, t.{column}::text AS value"
                query = f"SELECT {values} FROM {table} t WHERE {column} IS NOT NULL"  # noqa: S608 - names as SQL
                await driver.execute(f"CREATE TEMPORARY TABLE {copy.table} AS {query}")
                self._copies.append(copy)

    async def after(self, driver: asyncpg.Connection) -> dict[str, int]:
        """Return the number of altered values by column, without those of deleted rows."""
        altered = {}
        for copy in self._copies:
            names = await _current_names(driver, copy)
            if names is not None:
                relation, key, column = names
                rows = f"{copy.table} s JOIN {relation} t ON s.key = {key}"
                query = f"SELECT count(*) FROM {rows} WHERE s.value IS DISTINCT FROM t.{column}::text"  # noqa: S608
                altered[copy.identity] = await driver.fetchval(query)
            await driver.execute(f"DROP TABLE {copy.table}")
        return altered

    def _columns(self, database: str, revision: str) -> set[tuple[str, str]]:
        return {
            (change.owner.identity, change.key.identity)
            for statement in self.statements
            if (statement.database, statement.revision) == (database, revision)
            and _OWN_EXPRESSION.search(statement.sql)
            for change in statement.changes
            if change.op is Op.CHANGED and change.key.kind == "column" and "type" in change.fields
            if change.owner is not None
        }


async def _current_names(driver: asyncpg.Connection, copy: _Copy) -> tuple[str, str, str] | None:
    """Return the relation, its key as an expression, and the column; None where one no longer exists."""
    row = await driver.fetchrow(_NAMES, copy.relation, list(copy.numbers))
    if row["relation"] is None or len(row["columns"]) != len(copy.numbers):
        return None
    column, *key = row["columns"]
    return row["relation"], f"ROW({', '.join(f't.{name}' for name in key)})::text", column
