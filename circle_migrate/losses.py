"""Losses: what a downgrade would take away, before it takes anything.

The downgrade runs on scratch databases at the live ones' revisions, and catalogues are compared there by the
identity of objects: that sees what `op.execute`, helpers and CASCADE take, and knows a rename from a column
that is dropped and made anew. How much there is of each is asked of the live databases, read only. What
statements of a revision do to rows shows where there are rows: on request the downgrade is rehearsed on the
live databases and rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from circle_migrate import planning
from circle_migrate.core.catalog import Snapshot, compare
from circle_migrate.core.events import Notify, ignore
from circle_migrate.core.losses import Effect, Failure, Loss, LossReport, Method, biggest_first
from circle_migrate.core.plan import Plan
from circle_migrate.core.traces import Trace, Traced
from circle_migrate.errors import CircleError, MigrationFailed, SettingsError
from circle_migrate.losing.counting import counted
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


@dataclass(slots=True)
class _Found:
    """What is known so far, before anything is counted."""

    losses: list[Loss] = field(default_factory=list)
    before: dict[str, Snapshot] = field(default_factory=dict)
    statements: list[Traced] = field(default_factory=list)
    methods: list[Method] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: Mapping[str, str] = field(default_factory=dict)

    def add(self, losses: Iterable[Loss]) -> None:
        """Add those that are not there yet; what was seen first has more to say."""
        known = {_what(each) for each in self.losses}
        gone = {(each.database, each.identity) for each in self.losses if each.effect is Effect.DROPPED}
        for loss in losses:
            part = loss.effect is not Effect.DROPPED and (loss.database, loss.identity) in gone
            if not part and _what(loss) not in known:
                self.losses.append(loss)


def _what(loss: Loss) -> tuple[str, ...]:
    """The same for a loss that was found twice; several revisions can each change rows of one table."""
    by = loss.revision if loss.effect in (Effect.DELETED, Effect.UPDATED) else ""
    return (loss.database, loss.identity, loss.kind, loss.effect, by)


async def losses(
    deployment: Deployment,
    plan: Plan,
    *,
    rehearse: bool = False,
    seconds: float = REHEARSAL_SECONDS,
    notify: Notify = ignore,
) -> LossReport:
    """What the plan of a downgrade would take from the databases, and what would keep it from running.

    Without a server for scratch databases the shipped snapshots have to do, and the report says so. A
    rehearsal takes the deployer locks, and holds others up for `seconds` at most. Raises `SettingsError`
    where there is neither a server nor a snapshot, what connecting raises, and of a rehearsal `NotWritable`
    and `Interrupted`.
    """
    found = _Found()
    names = {name: Names.of(name, deployment.databases[name].settings.search_path) for name in plan.databases}
    if plan:
        await _from_scratch(found, deployment, plan, names)
        if rehearse:
            await _from_rehearsal(found, deployment, plan, names, seconds, notify)
        await _from_live(found, deployment, plan, names)
    order = list(plan.databases)
    return LossReport(
        "downgrade",
        plan,
        planning.mode(deployment),
        tuple(sorted(found.losses, key=lambda each: (order.index(each.database), *biggest_first(each)))),
        tuple(found.methods),
        datetime.now(UTC),
        tuple(found.failures),
        found.skipped,
        tuple(dict.fromkeys(found.notes)),
    )


async def _from_scratch(
    found: _Found, deployment: Deployment, plan: Plan, names: Mapping[str, Names]
) -> None:
    """Run the plan on scratch databases; snapshots have to do, or to add, where that does not go."""
    majors = {
        name: state.server_version_num // 10000
        for name, state in (await deployment.states(plan.databases)).items()
    }
    async with ScratchServers(deployment) as servers:
        there = await servers.majors(plan.databases[0])
    if not there:
        found.notes.append(_NO_SCRATCH)
        await _from_snapshots(found, deployment, plan, names, majors)
        return
    try:
        traced, watch = await _traced(deployment, plan, majors[plan.databases[0]])
    except MigrationFailed as error:
        found.notes.append(f"{_NOT_THERE}: {error.message}")
        await _from_snapshots(found, deployment, plan, names, majors)
        return
    found.methods.append(Method.SCRATCH)
    found.notes += traced.notes
    found.statements += traced.statements
    _add_watched(found, watch, names)
    found.failures += _failed(traced)
    if found.failures or traced.untraced:
        try:
            await _from_snapshots(found, deployment, plan, names, majors)
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


def _add_watched(found: _Found, watch: Watch, names: Mapping[str, Names]) -> None:
    """What became of the catalogues, by what was seen after each step."""
    for name, catalogue in watch.before.items():
        known = found.before.get(name)
        objects = {**catalogue.snapshot.objects, **(known.objects if known else {})}
        found.before[name] = replace(catalogue.snapshot, objects=objects)
        found.add(listed(names[name], watch.outcome(name), catalogue.snapshot))


async def _from_snapshots(
    found: _Found,
    deployment: Deployment,
    plan: Plan,
    names: Mapping[str, Names],
    majors: Mapping[str, int],
) -> None:
    """Compare what the current revisions and the target lead to."""
    found.methods.append(Method.SNAPSHOTS)
    unseen = not found.statements
    for name in plan.databases:
        sides = []
        for revisions in (plan.current[name], plan.after[name]):
            made = await expected(deployment, name, revisions, majors[name])
            sides.append(made.snapshot)
            found.notes += filter(None, [made.note])
        before, after = sides
        found.before.setdefault(name, before)
        found.add(listed(names[name], by_names(before, after), before))
        if unseen:
            # Questions about rows need statements: these changes, as if one had made them all.
            found.statements.append(Traced(name, 1, "", "", changes=compare(before, after)))


async def _from_rehearsal(
    found: _Found,
    deployment: Deployment,
    plan: Plan,
    names: Mapping[str, Names],
    seconds: float,
    notify: Notify,
) -> None:
    from circle_migrate.losing.rehearsing import rehearse

    seen = await rehearse(deployment, plan, found.statements, seconds, notify)
    found.methods.append(Method.REHEARSAL)
    found.skipped = seen.skipped
    _add_watched(found, seen.watch, names)
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


async def _from_live(found: _Found, deployment: Deployment, plan: Plan, names: Mapping[str, Names]) -> None:
    """Ask the live databases how much there is of everything."""
    from circle_migrate.losing.foretelling import foretold, written
    from circle_migrate.losing.partners import with_partners
    from circle_migrate.matching.relations import declared

    databases = {name: deployment.databases[name] for name in plan.databases}
    found.add(written(names, found.statements))
    altered = await foretold(databases, names, found.statements)
    found.losses = _without_shadows(found.losses, altered)
    found.add(altered)
    found.losses = _without_parts(found.losses)
    all_of_it: list[Loss] = []
    for name, database in databases.items():
        mine = [each for each in found.losses if each.database == name]
        all_of_it += await counted(database, mine, found.before[name])
    try:
        relations = declared(deployment.settings)
    except SettingsError as error:
        relations = ()
        found.notes.append(f"rows of the other database were not looked at: {error.message}")
    found.losses = list(await with_partners(deployment, relations, all_of_it))


def _without_shadows(losses: Iterable[Loss], altered: Iterable[Loss]) -> list[Loss]:
    """Without the changes of columns of whose values more is known."""
    known = {(each.database, each.kind, each.identity) for each in altered}
    return [
        each
        for each in losses
        if each.effect is not Effect.CHANGED or (each.database, each.kind, each.identity) not in known
    ]


def _without_parts(losses: Sequence[Loss]) -> list[Loss]:
    """Without what happens to columns before their table goes as a whole."""
    tables = {
        (each.database, f"{each.identity}.")
        for each in losses
        if each.kind == "table" and each.effect is Effect.DROPPED
    }
    return [
        each
        for each in losses
        if each.kind != "column"
        or each.effect not in (Effect.NARROWED, Effect.CHANGED)
        or not any(name == each.database and each.identity.startswith(table) for name, table in tables)
    ]
