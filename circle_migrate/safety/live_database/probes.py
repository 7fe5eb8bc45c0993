"""Derive probes of live rows from the changes and work of statements, and run them; estimate written rows.

A probe counts up to LIMIT rows and one more; where there are fewer, it reads the table to its end or to the
time limit of `run_probes`. A probe without an answer is unknown, never a guess.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import asyncpg

from circle_migrate.postgres.bounded_read import (
    TOTAL_SECONDS,
    LiveQuery,
    QueryError,
    bounded_read,
    open_live_query,
)
from circle_migrate.postgres.catalog.queries import read_transaction
from circle_migrate.postgres.catalog.snapshot import Op, labels
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.postgres.search_path import CONFIGURED_LOCALLY, PINNED_LOCALLY
from circle_migrate.postgres.sql_text import compile_pattern, mentions, own_name
from circle_migrate.safety.live_database.catalog import NAMED
from circle_migrate.safety.live_database.column import column_probes
from circle_migrate.safety.live_database.constraint import constraint_probes, sequence_probes
from circle_migrate.safety.live_database.probe_context import (
    LIMIT,
    LiveNames,
    ProbeContext,
    StatementRenames,
    column_of,
)
from circle_migrate.safety.live_database.record import (
    Answer,
    ColumnName,
    ObjectUsage,
    Probe,
    ProbeKind,
    WritePlan,
)
from circle_migrate.safety.trace.record import Lock, Task, TracedStatement

_WRITING = frozenset({Task.INSERT, Task.UPDATE, Task.DELETE, Task.TRUNCATE})
_CAN_WRITE = compile_pattern(r"\s*(?:INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|WITH|DO|CALL|SELECT)\b")
_WRITES = compile_pattern(r"\b(?:INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE)\b")
_SETS_SEQUENCE = compile_pattern(r"\b(?:setval\s*\(|RESTART\b)")

_LOSSES = frozenset({ProbeKind.ROWS, ProbeKind.VALUES})
"""Kinds that no earlier statement fixes: the rows it changes are dropped as well."""

_NO_SUCH_FUNCTION = "42883"
_UNRESOLVED = ("42704", _NO_SUCH_FUNCTION)
"""SQLSTATEs of a type or function that was not found."""

_CONSTRAINT_CLASSES = ("22", "23")
_ANCESTORS = f"""
WITH RECURSIVE above (name, oid) AS (
    SELECT name, oid FROM ({NAMED}) named WHERE name = ANY ($1)
    UNION
    SELECT above.name, i.inhparent FROM above JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.oid
)
SELECT above.name, named.name AS ancestor
FROM above JOIN ({NAMED}) named USING (oid) WHERE named.name <> above.name
"""
_MAY_BE_PLANNED = compile_pattern(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:UPDATE|DELETE|INSERT|MERGE|WITH)\b")
_NAME = "circle_migrate_estimate"
_PARAMETERS = "SELECT cardinality(parameter_types) FROM pg_catalog.pg_prepared_statements WHERE name = $1"


def derive_probes(
    statements: Sequence[TracedStatement], usage: Mapping[str, ObjectUsage] | None = None
) -> tuple[Probe, ...]:
    """Return the probes of the live databases for these statements, in the order of the plan.

    `usage` has the facts that only the live catalog has, by database; probes that need them are unknown
    without it. Objects that the plan creates have no probe, renamed ones are probed by their live names.
    """
    probes: list[Probe] = []
    for index, context in enumerate(_contexts(statements, usage or {})):
        for derive in (column_probes, constraint_probes, sequence_probes):
            for probe in derive(context):
                name, fixed_by = statements[index].database, _fixed_by(probe, statements, index)
                probes.append(replace(probe, database=name, statement=index, fixed_by=fixed_by))
    return tuple(dict.fromkeys(probes))


def _contexts(
    statements: Sequence[TracedStatement], usage: Mapping[str, ObjectUsage]
) -> Iterator[ProbeContext]:
    """Yield each statement with the names and types after the earlier statements of its database."""
    last: dict[str, ProbeContext] = {}
    for statement in statements:
        database, renames = statement.database, StatementRenames(statement)
        previous = last.get(database) or ProbeContext(renames, LiveNames(), LiveNames(), {}, {}, {}, None)
        before, after = previous.after, previous.after.after(renames)
        created = () if renames.is_rename else renames.changes(Op.ADDED, "sequence")
        starts = {change.key.identity: change.fields["start"][1] or "1" for change in created}
        known, starts = {**previous.labels, **_labels(renames)}, {**previous.starts, **starts}
        defaults = _defaults(renames, previous.defaults)
        last[database] = ProbeContext(renames, before, after, known, starts, defaults, usage.get(database))
        yield last[database]


def _labels(renames: StatementRenames) -> dict[str, tuple[str, ...]]:
    return {
        change.key.identity: tuple(labels(field))
        for op in (Op.ADDED, Op.CHANGED)
        for change in renames.changes(op, "enum")
        if (field := change.new("labels"))
    }


def _defaults(renames: StatementRenames, known: Mapping[ColumnName, str]) -> dict[ColumnName, str]:
    """Return the values that new columns have in rows that do not list them, after a statement."""
    defaults = dict(known)
    for change in () if renames.is_rename else renames.statement.changes:
        column, is_new = column_of(change), change.op is Op.ADDED
        if change.new("identity") or "nextval(" in change.new("default"):
            defaults.pop(column, None)
        elif change.key.kind == "column" and (is_new or (column in known and "default" in change.fields)):
            null = f"NULL::{change.new('type') or 'text'}"
            defaults[column] = f"({change.new('default') or change.new('generated') or null})"
    return defaults


def _fixed_by(probe: Probe, statements: Sequence[TracedStatement], index: int) -> str:
    """Return the revision that changes the rows before a statement, or the sequence after it; else ""."""
    database = statements[index].database
    if probe.kind is ProbeKind.BEHIND:
        names = (probe.relation, *probe.related)
        first = index if probe.subject in probe.related else -1
        for position, statement in enumerate(statements):
            is_candidate = position != index and position > first and statement.database == database
            if is_candidate and _SETS_SEQUENCE.search(statement.sql) and _names_any(statement, names):
                return statement.revision
    elif probe.kind not in _LOSSES:
        segment = statements[index].segment
        # Other sessions see a rule that is NOT VALID once its transaction has ended.
        is_hidden = probe.kind is ProbeKind.REFUSED and statements[index].transactional
        later = (other for other in statements[index + 1 :] if is_hidden and other.segment == segment)
        for statement in (*reversed(statements[: index + 1]), *later):
            if statement.database == database and any(_writes(statement, name) for name in probe.related):
                return statement.revision
    return ""


def _writes(statement: TracedStatement, relation: str) -> bool:
    if statement.acquired.get(relation) is Lock.RowExclusive:
        return True
    if any(work.task in _WRITING and work.relation == relation for work in statement.work):
        return True
    sql = statement.sql
    return bool(_CAN_WRITE.match(sql) and _WRITES.search(sql)) and _names_any(statement, (relation,))


def _names_any(statement: TracedStatement, relations: Sequence[str]) -> bool:
    """Return whether the statement has the unqualified name of one of the relations as a word."""
    return any(mentions(statement.sql, own_name(name)) for name in relations)


async def run_probes(
    database: Database, probes: Sequence[Probe], seconds: float = 2.0, total: float = TOTAL_SECONDS
) -> tuple[Answer, ...]:
    """Return the answers to the probes of one database, in their order.

    One probe may take `seconds`, all together `total`. A partition is left out where its parent has the same
    probe. An unknown answer says why. Raises only what connecting raises.
    """
    if not any(probe.query for probe in probes):
        return tuple(Answer(probe, None, why=probe.unknown) for probe in probes)
    async with open_live_query(database, seconds, total) as live:
        covered = await _covered(live, probes)
        return tuple([await _answer(live, probe) for probe in probes if probe not in covered])


async def _answer(live: LiveQuery, probe: Probe) -> Answer:
    if not probe.query:
        return Answer(probe, None, why=probe.unknown)
    try:
        rows = await _rows(live, probe.query)
    except QueryError as error:
        return _unanswered(probe, error)
    count = int(rows[0][0] or 0) if rows else 0
    if count and (probe.unknown or probe.fixed_by):
        number = f"more than {LIMIT}" if count > LIMIT else count
        changed = f"{number} now, but {probe.fixed_by} changes that in the same run"
        return Answer(probe, None, why=probe.unknown or changed)
    return Answer(probe, min(count, LIMIT), more=count > LIMIT)


async def _rows(live: LiveQuery, query: str) -> list[asyncpg.Record]:
    """Return the rows of a probe. Names that a revision does not qualify are found by the configured path."""
    try:
        return await live.rows(query)
    except QueryError as error:
        if error.sqlstate not in _UNRESOLVED or "pg_input_is_valid" in str(error):
            raise
    return await live.rows(query, configured_path=True)


def _unanswered(probe: Probe, error: QueryError) -> Answer:
    if error.sqlstate.startswith(_CONSTRAINT_CLASSES):
        if probe.kind is ProbeKind.UNCASTABLE and not probe.fixed_by:
            return Answer(probe, 1, more=True)
        return Answer(probe, None, why=f"a value made the query fail (SQLSTATE {error.sqlstate})")
    if error.sqlstate == _NO_SUCH_FUNCTION and "pg_input_is_valid" in str(error):
        return Answer(probe, None, why="conversions can be tested on PostgreSQL 16 and newer only")
    return Answer(probe, None, why=str(error))


async def _covered(live: LiveQuery, probes: Sequence[Probe]) -> frozenset[Probe]:
    """Return the probes of partitions whose parent has the same probe, which covers them."""
    try:
        rows = await live.rows(_ANCESTORS, sorted({probe.relation for probe in probes}))
    except QueryError:  # Partitions are then read on their own, with the same result.
        return frozenset()
    keys = {_key(probe, probe.relation) for probe in probes}
    return frozenset(
        probe
        for probe in probes
        if any(_key(probe, row["ancestor"]) in keys for row in rows if row["name"] == probe.relation)
    )


def _key(probe: Probe, relation: str) -> tuple[object, ...]:
    """Return the same for probes that count the same in a table and in its partition."""
    return (probe.statement, probe.kind, relation, split_identity(probe.subject)[2:])


async def write_plans(database: Database, statements: Iterable[str]) -> dict[tuple[str, str], WritePlan]:
    """Return the plans of statements that write, by the database and the statement.

    Those that write none are left out, or cannot be planned. Raises what `bounded_read` raises.
    """
    writing = dict.fromkeys(filter(_MAY_BE_PLANNED.match, statements))
    if not writing:
        return {}
    async with bounded_read(database) as connection:
        return {
            (database.name, sql): plan
            for number, sql in enumerate(writing)
            if (plan := await _estimate(connection, f"{_NAME}_{number}", sql)) is not None
        }


async def _estimate(connection: asyncpg.Connection, name: str, sql: str) -> WritePlan | None:
    try:
        async with read_transaction(connection):
            # The values of parameters are not known, and do not matter to a generic plan.
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            # `fetch` takes one statement only: `execute` would run a second one in the text.
            await connection.execute(CONFIGURED_LOCALLY)
            await connection.fetch(f"PREPARE {name} AS {sql}")
            await connection.execute(PINNED_LOCALLY)
            count = await connection.fetchval(_PARAMETERS, name)
            nulls = f" ({', '.join(['NULL'] * count)})" if count else ""
            await connection.execute(CONFIGURED_LOCALLY)  # the plan is made under the path of its text
            explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name}{nulls}")
            await connection.execute(f"DEALLOCATE {name}")
    except asyncpg.PostgresError:
        return None
    plan = json.loads(explained)[0]["Plan"]
    rows = _written_rows(plan)
    return None if rows is None else WritePlan(rows, frozenset(_scanned(plan)))


def _scanned(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the tables that a plan reads as a whole, without schemas."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from _scanned(part)


def _written_rows(plan: Mapping[str, Any]) -> int | None:
    """Return the input rows of the ModifyTable node; of several nodes the largest number."""
    parts = plan.get("Plans", ())
    if plan["Node Type"] == "ModifyTable":
        return sum(int(part["Plan Rows"]) for part in parts if part.get("Parent Relationship") == "Outer")
    return max((rows for rows in map(_written_rows, parts) if rows is not None), default=None)
