"""Losses: what a downgrade would take away, before it takes anything.

The downgrade runs on scratch databases at the live ones' revisions, and catalogues are compared there by the
identity of objects: that sees what `op.execute`, helpers and CASCADE take, and knows a rename from a column
that is dropped and made anew. How much there is of each is asked of the live databases, read only. What
statements of a revision do to rows shows where there are rows: on request the downgrade is rehearsed on the
live databases and rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from circle_migrate.core.catalog import compare
from circle_migrate.core.events import Notify, ignore
from circle_migrate.core.losses import Effect, Failure, Loss, LossReport, Method
from circle_migrate.core.plan import Plan
from circle_migrate.core.traces import Trace, Traced
from circle_migrate.errors import CircleError, MigrationFailed
from circle_migrate.losing.found import Found
from circle_migrate.losing.listing import Names, by_names, listed
from circle_migrate.scratch import ScratchServers
from circle_migrate.states.expected import expected

if TYPE_CHECKING:
    from circle_migrate.deployment import Deployment
    from circle_migrate.losing.rehearsing import Rehearsal
    from circle_migrate.losing.watching import Watch

REHEARSAL_SECONDS = 5.0
"""How long others may have to wait for a rehearsal where nothing else is asked for."""

_NO_SCRATCH = (
    "without a server for scratch databases only the snapshots of the revisions were compared, by name: "
    "rows that a revision deletes or changes are not seen, and a rename looks like a loss; "
    "pip install 'circle-migrate[embedded]', or --scratch-url URL, for the whole report"
)
_NOT_THERE = (
    "scratch databases could not be brought to the current revisions, snapshots were compared instead"
)
_INCOMPLETE = (
    "the downgrade did not get through on scratch databases; what its snapshots say was added, by name"
)


async def losses(
    deployment: Deployment,
    plan: Plan,
    *,
    rehearse: bool = False,
    seconds: float = REHEARSAL_SECONDS,
    notify: Notify = ignore,
) -> LossReport:
    """What the plan of a downgrade would take from the databases, and what would keep it from running.

    Raises what `find` and `Found.counted` raise.
    """
    return await (await find(deployment, plan, rehearse=rehearse, seconds=seconds, notify=notify)).counted()


async def find(
    deployment: Deployment,
    plan: Plan,
    *,
    rehearse: bool = False,
    seconds: float = REHEARSAL_SECONDS,
    notify: Notify = ignore,
) -> Found:
    """What the plan would take, not counted yet.

    Without a server for scratch databases the shipped snapshots have to do, and the report says so. A
    rehearsal takes the deployer locks, and holds others up for `seconds` at most. Raises `SettingsError`
    where there is neither a server nor a snapshot, what connecting raises, and of a rehearsal `NotWritable`
    and `Interrupted`.
    """
    found = Found(deployment, plan)
    if plan:
        await _from_scratch(found)
        if rehearse:
            await _from_rehearsal(found, seconds, notify)
    return found


async def _from_scratch(found: Found) -> None:
    """Run the plan on scratch databases; snapshots have to do, or to add, where that does not go."""
    deployment, plan = found.deployment, found.plan
    majors = {
        name: state.server_version_num // 10000
        for name, state in (await deployment.states(plan.databases)).items()
    }
    async with ScratchServers(deployment) as servers:
        there = await servers.majors(plan.databases[0], majors[plan.databases[0]])
    if not there:
        found.notes.append(_NO_SCRATCH)
        await _from_snapshots(found, majors)
        return
    try:
        traced, watch = await _traced(deployment, plan, majors[plan.databases[0]])
    except MigrationFailed as error:
        found.notes.append(f"{_NOT_THERE}: {error.message}")
        await _from_snapshots(found, majors)
        return
    found.methods.append(Method.SCRATCH)
    found.notes += traced.notes
    found.statements += traced.statements
    _add_watched(found, watch)
    found.failures += _failed(traced)
    if found.failures or traced.untraced:
        try:
            await _from_snapshots(found, majors)
        except CircleError as error:
            found.notes.append(f"the snapshots of the revisions could not be compared: {error.message}")
        else:
            found.notes.append(_INCOMPLETE)


async def _traced(deployment: Deployment, plan: Plan, major: int) -> tuple[Trace, Watch]:
    from circle_migrate.losing.watching import LossHooks, Watch
    from circle_migrate.trace import trace

    watch = Watch(plan)
    return await trace(deployment, plan, major=major, hooks=LossHooks(watch)), watch


def _failed(traced: Trace) -> Iterator[Failure]:
    for each in traced.statements:
        if each.error is not None:
            place = f"{each.file}:{each.line}" if each.file else None
            words = f"{each.error.message} (SQLSTATE {each.error.sqlstate})"
            yield Failure(each.database, each.revision, Method.SCRATCH, words, place)


def _add_watched(found: Found, watch: Watch) -> None:
    """What became of the catalogues, by what was seen after each step."""
    for name, catalogue in watch.before.items():
        known = found.before.get(name)
        objects = {**catalogue.snapshot.objects, **(known.objects if known else {})}
        found.before[name] = replace(catalogue.snapshot, objects=objects)
        found.add(listed(found.names[name], watch.outcome(name), catalogue.snapshot))


async def _from_snapshots(found: Found, majors: Mapping[str, int]) -> None:
    """Compare what the current revisions and the target lead to."""
    found.methods.append(Method.SNAPSHOTS)
    unseen = not found.statements
    for name in found.plan.databases:
        sides = []
        for revisions in (found.plan.current[name], found.plan.after[name]):
            made = await expected(found.deployment, name, revisions, majors[name])
            sides.append(made.snapshot)
            found.notes += filter(None, [made.note])
        before, after = sides
        found.before.setdefault(name, before)
        found.add(listed(found.names[name], by_names(before, after), before))
        if unseen:
            # Questions about rows need statements: these changes, as if one had made them all.
            found.statements.append(Traced(name, 1, "", "", changes=compare(before, after)))


async def _from_rehearsal(found: Found, seconds: float, notify: Notify) -> None:
    from circle_migrate.losing.rehearsing import rehearse

    names = found.names
    seen = await rehearse(found.deployment, found.plan, found.statements, seconds, notify)
    found.methods.append(Method.REHEARSAL)
    found.skipped, found.altered = seen.skipped, seen.altered
    _add_watched(found, seen.watch)
    found.add(seen.written(names))
    found.failures += filter(None, [seen.failure])
    found.notes += filter(None, [seen.note])
    if seen.moved:
        moved = ", ".join(names[name].name(sequence) for name, sequence in sorted(seen.moved))
        found.notes.append(f"not undone by the rollback: {moved} moved, as sequences do")
    found.losses = [_with_inserts(each, seen, names) for each in found.losses]
    found.statements = [_without_rehearsed(each, seen) for each in found.statements]


def _with_inserts(loss: Loss, seen: Rehearsal, names: Mapping[str, Names]) -> Loss:
    """A table that goes, beside what its revision puts elsewhere: the rows may live on there."""
    if loss.effect is not Effect.DROPPED or loss.kind not in ("table", "column"):
        return loss
    words = seen.inserted(loss.database, loss.revision, names[loss.database])
    return replace(loss, detail=", ".join(filter(None, (loss.detail, words))))


def _without_rehearsed(statement: Traced, seen: Rehearsal) -> Traced:
    """A statement without the work whose rows a rehearsal has counted."""
    rehearsed = f"{statement.database}@{statement.revision}" in seen.done
    return replace(statement, work=()) if rehearsed else statement
