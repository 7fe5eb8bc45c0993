"""`consistency`: find keys that a relation requires in two databases and only one of them has.

Both columns are read in ascending order and merged, so that memory does not grow with the tables. The
snapshots of the databases are not taken at the same time; an unmatched key therefore counts only if it is
still unmatched when it is checked again after a pause.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import asyncpg

from circle_migrate.commands.consistency.merge import SortedMerge, key_stream, reading_error
from circle_migrate.commands.consistency.result import ConsistencyResult, RelationResult, RelationSide
from circle_migrate.config.object_reference import load_relations
from circle_migrate.config.relation import Relation, Side
from circle_migrate.core.counted import counted
from circle_migrate.core.errors import ExitCode, MigrateError, UnknownRevision
from circle_migrate.core.events import Event, EventKind, Notify, ignore_event
from circle_migrate.core.findings import Check, Finding, Severity, from_error
from circle_migrate.migrate.guards import ensure_distinct, verify_identity
from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.postgres.deployment import Deployment, revision_folders
from circle_migrate.postgres.key_column import (
    Family,
    KeyColumn,
    KeyEncoding,
    MissingColumn,
    existing_keys,
    find_column,
)

SAMPLES = 10
"""Default number of keys that a finding shows."""

MAX_RECHECKED = 5000
"""Keys of each side that are checked again; more unmatched keys are not explained by timing."""

PAUSE = 1.0
"""Seconds before unmatched keys are checked again: longer than the writes of one request take."""

_NO_RELATIONS = Check("relations", "relations between the databases", skipped="no relation is declared")

T = TypeVar("T")


class _SidesFailedError(Exception):
    """The comparison of a relation failed; `args` are the errors of one or both sides."""


class _MissingSideError(Exception):
    """A relation has a side whose table or column does not exist."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The comparison of relations; `pause` is in seconds."""

    deployment: Deployment
    limit: int
    notify: Notify
    pause: float

    async def compare(self, relation: Relation) -> RelationResult:
        """Compare one relation. Raises `_MissingSideError` and `_SidesFailedError`."""
        started = time.perf_counter()
        async with self._connect(relation) as connections:
            encodings = await self._encodings(relation, connections)
            streams = (await self._merge(encodings, connections)).sides
        unmatched = {side: stream.first for side, stream in streams.items()}
        if any(unmatched.values()):
            await asyncio.sleep(self.pause)
            unmatched = await self._still_unmatched(relation, encodings, unmatched)
        sides, settled = {}, 0
        for side, encoding in encodings.items():
            stream, still = streams[side], unmatched[side]
            settled += len(stream.first) - len(still)
            not_rechecked = stream.unmatched - len(stream.first)
            total = not_rechecked + len(still)
            samples = tuple(encoding.format_key(key) for key in still[: self.limit])
            key = encoding.located
            sides[side] = RelationSide(key.column, key.type, stream.rows, total, not_rechecked, samples)
        as_text = len({encoding.located.family for encoding in encodings.values()}) > 1
        return RelationResult(relation, sides, as_text, settled, seconds=time.perf_counter() - started)

    @asynccontextmanager
    async def _connect(self, relation: Relation) -> AsyncIterator[dict[Side, asyncpg.Connection]]:
        async with AsyncExitStack() as stack:
            databases, lock_seconds = self.deployment.databases, self.deployment.settings.lock_timeout
            queries = {
                side: stack.enter_async_context(
                    bounded_read(databases[column.database], seconds=None, lock_seconds=lock_seconds)
                )
                for side, column in relation.columns.items()
            }
            yield await _gather(relation, queries)

    async def _encodings(
        self, relation: Relation, connections: Mapping[Side, asyncpg.Connection]
    ) -> dict[Side, KeyEncoding]:
        """Locate both columns; the first query takes the snapshots of both transactions."""
        queries = {side: find_column(connections[side], column) for side, column in relation.columns.items()}
        columns = await _gather(relation, queries)
        if missing := [column for column in columns.values() if isinstance(column, MissingColumn)]:
            raise _MissingSideError("; ".join(missing))
        located = {side: column for side, column in columns.items() if isinstance(column, KeyColumn)}
        families = {column.family for column in located.values()}
        family = families.pop() if len(families) == 1 else Family.TEXT
        return {side: KeyEncoding(column, family) for side, column in located.items()}

    async def _merge(
        self, encodings: Mapping[Side, KeyEncoding], connections: Mapping[Side, asyncpg.Connection]
    ) -> SortedMerge[Any]:
        merge: SortedMerge[Any] = SortedMerge(MAX_RECHECKED)
        async with AsyncExitStack() as stack:
            streams = {
                side: await stack.enter_async_context(key_stream(connections[side], encoding))
                for side, encoding in encodings.items()
            }
            while (side := merge.next_side) is not None:
                try:
                    keys = await streams[side].batch()
                except MigrateError as error:
                    raise _SidesFailedError(error) from error
                if keys is None:
                    merge.end(side)
                else:
                    merge.add(side, keys)
                self._report(encodings[side].located, merge.sides[side].rows, ended=keys is None)
        return merge

    def _report(self, located: KeyColumn, rows: int, *, ended: bool) -> None:
        column, total = located.column, max(located.rows, rows)
        estimate = f"{rows:,} of about " if located.rows >= rows else ""
        kind = EventKind.WORKING if ended else EventKind.READING
        text = "" if ended else f"{column.within}: {estimate}{counted(total, 'key')}"
        self.notify(Event(kind, column.database, text, rows, total))

    async def _still_unmatched(
        self, relation: Relation, encodings: Mapping[Side, KeyEncoding], unmatched: Mapping[Side, list[Any]]
    ) -> dict[Side, list[Any]]:
        """Return the keys that are unmatched in new snapshots, too."""
        all_keys = [key for keys in unmatched.values() for key in keys]
        async with self._connect(relation) as connections:
            queries = {
                side: existing_keys(connections[side], encoding, all_keys)
                for side, encoding in encodings.items()
            }
            existing = await _gather(relation, queries)
        return {
            side: [key for key in keys if key in existing[side] and key not in existing[side.other]]
            for side, keys in unmatched.items()
        }


async def consistency(
    deployment: Deployment,
    names: Sequence[str] = (),
    *,
    limit: int = SAMPLES,
    notify: Notify = ignore_event,
    pause: float = PAUSE,
) -> ConsistencyResult:
    """Compare both sides of every relation of the selected databases, or of the relations with these names.

    A relation is skipped if a side does not exist yet. An error that prevents the comparison of one relation
    is a finding; the others are compared. `limit` is the number of keys that a finding shows. Raises
    `UsageError` and `SettingsError` for missing relations or addresses.
    """
    all_relations = load_relations(deployment.settings, names)
    relations = [relation for relation in all_relations if relation.databases & set(deployment.selected)]
    for name in sorted({name for relation in relations for name in relation.databases}):
        _ = deployment.databases[name].address  # raises for a missing URL before any server is queried
    comparison = _Comparison(deployment, limit, notify, pause)
    results = [await _check(comparison, relation) for relation in relations]
    return ConsistencyResult(
        "consistency",
        tuple(check for check, _ in results) or (_NO_RELATIONS,),
        folders=revision_folders(deployment),
        relations=tuple(result for _, result in results if result is not None),
    )


async def _check(comparison: _Comparison, relation: Relation) -> tuple[Check, RelationResult | None]:
    name, title = f"relation-{relation.name}", f"{relation.left} and {relation.right} have the same keys"
    try:
        result = await comparison.compare(relation)
    except _SidesFailedError as error:
        return Check(name, title, tuple(map(from_error, error.args))), None
    except _MissingSideError as error:
        reason, findings = await _explain_missing(comparison.deployment, relation, str(error))
        return Check(name, title, findings, skipped=reason), None
    return Check(name, title, tuple(_findings(result)), seconds=result.seconds), result


async def _explain_missing(
    deployment: Deployment, relation: Relation, missing: str
) -> tuple[str, tuple[Finding, ...]]:
    """Return why a side is missing, and findings if it is an error: if the database is swapped or at head."""
    results = await deployment.states_or_errors(
        name for name in deployment.databases if name in relation.databases
    )
    states = {name: state for name, state in results.items() if not isinstance(state, MigrateError)}
    errors = [error for error in results.values() if isinstance(error, MigrateError)]
    checks: list[Callable[[], object]] = [partial(ensure_distinct, states)]
    checks += [partial(verify_identity, deployment, {name: state}) for name, state in states.items()]
    for check in checks:
        try:
            check()
        except UnknownRevision:
            continue  # a newer release may have dropped the table
        except MigrateError as error:
            error.state = None
            errors.append(error)
    revisions = ", ".join(f"{name} at {', '.join(state.current) or 'base'}" for name, state in states.items())
    findings = tuple(map(from_error, errors))
    graphs = {name: deployment.databases[name].graph for name in states}
    if not errors and all(set(s.current) == set(graphs[name].effective_heads) for name, s in states.items()):
        findings = (
            Finding(
                rule="missing-column",
                severity=Severity.ERROR,
                message=f"{missing}, and no pending revision creates it",
                status=ExitCode.DRIFT,
                subject=relation.name,
            ),
        )
    return f"{missing} ({revisions})", findings


def _findings(result: RelationResult) -> Iterator[Finding]:
    left, right = result.sides[Side.LEFT], result.sides[Side.RIGHT]
    if left.type != right.type:
        yield Finding(
            rule="key-types-differ",
            severity=Severity.ERROR if result.as_text else Severity.NOTE,
            message=f"{left.column} is {left.type}, and {right.column} is {right.type}",
            status=ExitCode.DRIFT,
            subject=result.relation.name,
            detail="the keys were compared as text" if result.as_text else None,
        )
    for side, keys in result.sides.items():
        severity = result.relation.severity(side)
        if keys.unmatched and severity is not None:
            yield _orphan(result, side, severity)


def _orphan(result: RelationResult, side: Side, severity: Severity) -> Finding:
    keys, column = result.sides[side], result.sides[side].column
    more = keys.unmatched - len(keys.samples)
    samples = ", ".join(keys.samples) + (f" and {more:,} more" if more else "") if keys.samples else ""
    limit = f"only {MAX_RECHECKED:,} keys were checked a second time" if keys.not_rechecked else ""
    return Finding(
        rule="orphan",
        severity=severity,
        message=f"{column.database}: {counted(keys.unmatched, 'key')} of {column.within} "
        f"{'is' if keys.unmatched == 1 else 'are'} not in {result.sides[side.other].column}",
        status=ExitCode.DRIFT,
        database=column.database,
        subject=f"{result.relation.name}: {column}",
        detail="\n".join(filter(None, (samples, limit))) or None,
    )


async def _gather(relation: Relation, queries: Mapping[Side, Coroutine[Any, Any, T]]) -> dict[Side, T]:
    """Run the queries of both sides at once. Raises `_SidesFailedError` with the errors of both."""
    results = await asyncio.gather(*queries.values(), return_exceptions=True)
    by_side: dict[Side, T] = {}
    errors = []
    for side, result in zip(queries, results, strict=True):
        if isinstance(result, Exception):
            errors.append(reading_error(result, relation.columns[side].database))
        elif isinstance(result, BaseException):
            raise result
        else:
            by_side[side] = result
    if errors:
        raise _SidesFailedError(*errors)
    return by_side
