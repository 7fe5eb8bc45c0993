"""Consistency: whether the databases hold the same keys where a relation says so.

Both columns are read in order and merged, in memory that does not grow with the tables. The two snapshots
are taken one right after the other and are still not one moment: a key that stands alone counts only where
it still does a moment later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from circle_migrate.commands.consistency.merge import SortedMerge
from circle_migrate.commands.consistency.result import Compared, ConsistencyResult, Keys
from circle_migrate.commands.consistency.stream import reading_fault, streaming
from circle_migrate.config.load_relations import load_relations
from circle_migrate.config.relation import Column, Relation, Side
from circle_migrate.core.errors import ExitCode, MigrateError, UnknownRevision
from circle_migrate.core.events import Event, Kind, Notify, discard
from circle_migrate.core.findings import Check, Finding, Severity, from_error
from circle_migrate.migrate.identity import ensure_distinct, verify_identity
from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Deployment, folders
from circle_migrate.postgres.key_column import (
    Family,
    KeyColumn,
    KeyEncoding,
    MissingColumn,
    existing_keys,
    locate,
)

if TYPE_CHECKING:
    import asyncpg

SAMPLES = 10
"""Keys that a finding shows where nothing else is asked for."""

KEPT = 5000
"""Keys of each side that are looked at again; where more stand alone, it is no coincidence."""

PAUSE = 1.0
"""Seconds until they are, which is more than the writes of one request take."""

_NOTHING_DECLARED = Check("relations", "relations between the databases", skipped="none is declared")

T = TypeVar("T")


class _PreventedError(Exception):
    """What kept a relation from being compared, on either side."""

    def __init__(self, errors: Sequence[MigrateError]) -> None:
        super().__init__()
        self.errors = errors


class _SkippedError(Exception):
    """A side is not there, and so there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class _ComparisonRun:
    """How relations are read; `pause` is the seconds until keys that stand alone are looked at again."""

    deployment: Deployment
    limit: int
    notify: Notify
    pause: float

    async def compared(self, relation: Relation) -> Compared:
        """One relation. Raises `_SkippedError` and `_PreventedError`."""
        started = time.perf_counter()
        async with self._opened(relation) as connections:
            forms = await self._forms(relation, connections)
            merge = await self._merged(forms, connections)
        still = {side: half.first for side, half in merge.halves.items()}
        if any(still.values()):
            await asyncio.sleep(self.pause)
            still = await self._recheck(relation, forms, merge)
        alone = {
            side: half.unmatched - len(half.first) + len(still[side]) for side, half in merge.halves.items()
        }
        sides = {
            side: Keys(
                form.located.column,
                form.located.type,
                merge.halves[side].rows,
                alone[side],
                merge.halves[side].unmatched - len(merge.halves[side].first),
                tuple(form.shown(key) for key in still[side][: self.limit]),
            )
            for side, form in forms.items()
        }
        return Compared(
            relation,
            sides,
            as_text=len({form.located.family for form in forms.values()}) > 1,
            settled=sum(half.unmatched for half in merge.halves.values()) - sum(alone.values()),
            seconds=time.perf_counter() - started,
        )

    @asynccontextmanager
    async def _opened(self, relation: Relation) -> AsyncIterator[dict[Side, asyncpg.Connection]]:
        async with AsyncExitStack() as stack:
            settings = self.deployment.settings
            yield await _both(
                {
                    side: stack.enter_async_context(
                        bounded_read(
                            self.deployment.databases[column.database],
                            seconds=None,
                            lock_seconds=settings.lock_timeout,
                        )
                    )
                    for side, column in relation.columns.items()
                }
            )

    async def _forms(
        self, relation: Relation, connections: Mapping[Side, asyncpg.Connection]
    ) -> dict[Side, KeyEncoding]:
        """Where both columns are; asking for it takes the snapshots of both transactions."""
        places = await _both(
            {
                side: _named(locate(connections[side], column), column)
                for side, column in relation.columns.items()
            }
        )
        missing = [place for place in places.values() if isinstance(place, MissingColumn)]
        if missing:
            raise _SkippedError("; ".join(missing))
        located = {side: place for side, place in places.items() if isinstance(place, KeyColumn)}
        families = {place.family for place in located.values()}
        family = families.pop() if len(families) == 1 else Family.TEXT
        return {side: KeyEncoding(place, family) for side, place in located.items()}

    async def _merged(
        self, forms: Mapping[Side, KeyEncoding], connections: Mapping[Side, asyncpg.Connection]
    ) -> SortedMerge[Any]:
        merge: SortedMerge[Any] = SortedMerge(KEPT)
        async with AsyncExitStack() as stack:
            streams = {
                side: await stack.enter_async_context(streaming(connections[side], form))
                for side, form in forms.items()
            }
            while (side := merge.wanted) is not None:
                try:
                    keys = await streams[side].batch()
                except MigrateError as error:
                    raise _PreventedError([error]) from error
                if keys is None:
                    merge.end(side)
                else:
                    merge.add(side, keys)
                self._tell(forms[side].located, merge.halves[side].rows, ended=keys is None)
        return merge

    def _tell(self, located: KeyColumn, rows: int, *, ended: bool) -> None:
        column = located.column
        text = f"{column.within}: {rows:,}" + (f" of about {located.rows:,}" if located.rows >= rows else "")
        kind = Kind.WORKING if ended else Kind.READING
        self.notify(
            Event(kind, column.database, "" if ended else f"{text} keys", rows, max(located.rows, rows))
        )

    async def _recheck(
        self, relation: Relation, forms: Mapping[Side, KeyEncoding], merge: SortedMerge[Any]
    ) -> dict[Side, list[Any]]:
        """The keys that stood alone and still do, in snapshots of now."""
        first = {side: half.first for side, half in merge.halves.items()}
        keys = [key for each in first.values() for key in each]
        async with self._opened(relation) as connections:
            there = await _both(
                {
                    side: _named(existing_keys(connections[side], form, keys), form.located.column)
                    for side, form in forms.items()
                }
            )
        return {
            side: [key for key in each if key in there[side] and key not in there[side.other]]
            for side, each in first.items()
        }


async def consistency(
    deployment: Deployment,
    names: Sequence[str] = (),
    *,
    limit: int = SAMPLES,
    notify: Notify = discard,
    pause: float = PAUSE,
) -> ConsistencyResult:
    """Compare both sides of every relation of the selected databases, or of those of these names.

    A relation of which a side is not there yet is skipped; what prevents the comparison of one is a finding,
    and the others are compared all the same. `limit` is how many keys a finding shows. Raises `UsageError`
    and `SettingsError` where the relations or an address are not there.
    """
    relations = [
        load_relation
        for load_relation in load_relations(deployment.settings, names)
        if load_relation.databases.intersection(deployment.selected)
    ]
    for name in sorted({name for relation in relations for name in relation.databases}):
        _ = deployment.databases[name].address  # a missing URL is said before any server is asked
    reading = _ComparisonRun(deployment, limit, notify, pause)
    made = [await _answer(reading, relation) for relation in relations]
    return ConsistencyResult(
        "consistency",
        tuple(check for check, _ in made) or (_NOTHING_DECLARED,),
        folders=folders(deployment),
        relations=tuple(compared for _, compared in made if compared is not None),
    )


async def _answer(reading: _ComparisonRun, relation: Relation) -> tuple[Check, Compared | None]:
    name, title = f"relation-{relation.name}", f"{relation.left} and {relation.right} hold the same keys"
    try:
        compared = await reading.compared(relation)
    except _PreventedError as error:
        return Check(name, title, tuple(map(from_error, error.errors))), None
    except _SkippedError as error:
        why, strange = await _absent(reading.deployment, relation, str(error))
        return Check(name, title, strange, skipped=why), None
    return Check(name, title, tuple(_findings(compared)), seconds=compared.seconds), compared


async def _absent(
    deployment: Deployment, relation: Relation, missing: str
) -> tuple[str, tuple[Finding, ...]]:
    """Why there is nothing to compare, and what is wrong with that.

    A database at its head has every column; swapped ones lack each other's, too.
    """
    survey = await deployment.states_or_errors(
        name for name in deployment.databases if name in relation.databases
    )
    states = {name: state for name, state in survey.items() if not isinstance(state, MigrateError)}
    errors = [state for state in survey.values() if isinstance(state, MigrateError)]
    questions: list[Callable[[], object]] = [partial(ensure_distinct, states)]
    questions += [partial(verify_identity, deployment, {name: state}) for name, state in states.items()]
    for question in questions:
        try:
            question()
        except UnknownRevision:
            continue  # a release that is ahead has its tables, or has dropped them
        except MigrateError as error:
            error.state = None
            errors.append(error)
    standing = ", ".join(f"{name} at {', '.join(state.current) or 'base'}" for name, state in states.items())
    findings = tuple(map(from_error, errors))
    if not errors and all(_at_head(deployment, state) for state in states.values()):
        findings = (
            Finding(
                rule="missing-column",
                severity=Severity.ERROR,
                message=f"{missing}, and no revision is pending that makes it",
                status=ExitCode.DRIFT,
                subject=relation.name,
            ),
        )
    return f"{missing} ({standing})", findings


def _at_head(deployment: Deployment, state: State) -> bool:
    return set(state.current) == set(deployment.databases[state.database].graph.effective_heads)


def _findings(compared: Compared) -> Iterator[Finding]:
    left, right = compared.sides[Side.LEFT], compared.sides[Side.RIGHT]
    if left.type != right.type:
        yield Finding(
            rule="key-types-differ",
            severity=Severity.ERROR if compared.as_text else Severity.NOTE,
            message=f"{left.column} is {left.type}, and {right.column} is {right.type}",
            status=ExitCode.DRIFT,
            subject=compared.relation.name,
            detail="what they hold was compared as text" if compared.as_text else None,
        )
    for side, keys in compared.sides.items():
        severity = compared.relation.severity(side)
        if keys.alone and severity is not None:
            yield _orphans(compared, side, severity)


def _orphans(compared: Compared, side: Side, severity: Severity) -> Finding:
    keys, other = compared.sides[side], compared.sides[side.other]
    column = keys.column
    number, verb = f"{keys.alone:,} key{'s' * (keys.alone > 1)}", "is" if keys.alone == 1 else "are"
    more = keys.alone - len(keys.samples)
    shown = ", ".join(keys.samples) + (f" and {more:,} more" if more else "") if keys.samples else ""
    once = f"only {KEPT:,} were looked at again a moment later" if keys.once else ""
    return Finding(
        rule="orphan",
        severity=severity,
        message=f"{column.database}: {number} of {column.within} {verb} not in {other.column}",
        status=ExitCode.DRIFT,
        database=column.database,
        subject=f"{compared.relation.name}: {column}",
        detail="\n".join(filter(None, (shown, once))) or None,
    )


async def _both(questions: Mapping[Side, Coroutine[Any, Any, T]]) -> dict[Side, T]:
    """The answers of both sides, asked at once. Raises `_PreventedError` with all that went wrong."""
    answers = await asyncio.gather(*questions.values(), return_exceptions=True)
    errors, found = [], {}
    for side, answer in zip(questions, answers, strict=True):
        if isinstance(answer, MigrateError):
            errors.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found[side] = answer
    if errors:
        raise _PreventedError(errors)
    return found


async def _named(question: Coroutine[Any, Any, T], column: Column) -> T:
    """The answer to a question about a column. Raises what prevents it, as a named error."""
    try:
        return await question
    except Exception as error:
        raise reading_fault(error, column.database) from error
