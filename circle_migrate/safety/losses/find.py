"""Find what a downgrade would take away, before it takes anything.

The downgrade runs on scratch databases at the live ones' revisions, and catalogues are compared there by the
identity of objects: that sees what `op.execute`, helpers and CASCADE take, and tells a rename from a column
that is dropped and added again. What statements of a revision do to rows shows only on live rows: on request
the downgrade is rehearsed on the live databases and rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError, MigrationFailed
from circle_migrate.core.events import Notify, discard
from circle_migrate.diff.expected.expected import expected
from circle_migrate.postgres.catalog.snapshot import Snapshot, changes_between
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.revision_graph.plan import Plan
from circle_migrate.safety.losses.catalog_outcome import compare_by_name
from circle_migrate.safety.losses.report import Effect, Failure, Loss, LossNamer, Method, merge
from circle_migrate.safety.trace.record import Trace, TracedStatement
from circle_migrate.safety.trace.run import trace

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.safety.losses.rehearse import Rehearsal
    from circle_migrate.safety.losses.watch_catalog import CatalogWatch

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


@dataclass
class LossCollector:
    """What a plan takes from its databases, as the methods find it, without counts.

    `before` has the catalogues in which it was found, `statements` what runs. Of a rehearsal, `skipped` says
    why revisions were left out, and `altered` how many values of a column a conversion alters.
    """

    plan: Plan
    namers: Mapping[str, LossNamer] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    before: dict[str, Snapshot] = field(default_factory=dict)
    statements: list[TracedStatement] = field(default_factory=list)
    methods: list[Method] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: Mapping[str, str] = field(default_factory=dict)
    altered: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def add(self, losses: Iterable[Loss]) -> None:
        """Add losses; of one that is there already, the first has more to say."""
        self.losses = merge(self.losses, losses)

    def add_watched(self, watch: CatalogWatch) -> None:
        """Add what the catalogues show that were recorded during a run."""
        for name, catalogue in watch.before.items():
            known = self.before[name].objects if name in self.before else {}
            objects = {**catalogue.snapshot.objects, **known}
            self.before[name] = replace(catalogue.snapshot, objects=objects)
            self.add(watch.losses(self.namers[name]))


async def find(
    deployment: Deployment,
    plan: Plan,
    *,
    rehearse: bool = False,
    seconds: float = REHEARSAL_SECONDS,
    notify: Notify = discard,
) -> LossCollector:
    """Find what the plan would take; `losing.counting` counts it.

    Without a server for scratch databases the shipped snapshots are compared, and the report says so. A
    rehearsal takes the deployer locks, and holds others up for `seconds` at most. Raises `SettingsError`
    where there is neither a server nor a snapshot, what connecting raises, and of a rehearsal `NotWritable`
    and `Interrupted`.
    """
    paths = {name: deployment.databases[name].settings.search_path for name in plan.databases}
    collector = LossCollector(plan, {name: LossNamer.of(name, path) for name, path in paths.items()})
    if plan:
        await _from_scratch(deployment, collector)
        if rehearse:
            await _from_rehearsal(deployment, collector, seconds, notify)
    return collector


async def _from_scratch(deployment: Deployment, collector: LossCollector) -> None:
    """Run the plan on scratch databases; compare snapshots where that fails or ends early."""
    plan = collector.plan
    majors = {
        name: state.server_version_num // 10000
        for name, state in (await deployment.states(plan.databases)).items()
    }
    major = majors[plan.databases[0]]
    async with ScratchServers(deployment) as servers:
        available = await servers.majors(plan.databases[0], major)
    if not available:
        collector.notes.append(_NO_SCRATCH)
        await _from_snapshots(deployment, collector, majors)
        return
    from circle_migrate.safety.losses.watch_catalog import CatalogWatch, LossHooks

    watch = CatalogWatch(plan)
    try:
        traced = await trace(deployment, plan, major=major, hooks=LossHooks(watch))
    except MigrationFailed as error:
        collector.notes.append(f"{_NOT_THERE}: {error.message}")
        await _from_snapshots(deployment, collector, majors)
        return
    collector.methods.append(Method.SCRATCH)
    collector.notes += traced.notes
    collector.statements += traced.statements
    collector.add_watched(watch)
    collector.failures += _failures(traced)
    if collector.failures or traced.untraced:
        try:
            await _from_snapshots(deployment, collector, majors)
        except MigrateError as error:
            collector.notes.append(f"the snapshots of the revisions could not be compared: {error.message}")
        else:
            collector.notes.append(_INCOMPLETE)


def _failures(traced: Trace) -> Iterator[Failure]:
    for statement in traced.statements:
        if statement.error is not None:
            location = f"{statement.file}:{statement.line}" if statement.file else None
            message = f"{statement.error.message} (SQLSTATE {statement.error.sqlstate})"
            yield Failure(statement.database, statement.revision, Method.SCRATCH, message, location)


async def _from_snapshots(
    deployment: Deployment, collector: LossCollector, majors: Mapping[str, int]
) -> None:
    """Compare the snapshots of the current revisions and of the target, by name."""
    plan = collector.plan
    collector.methods.append(Method.SNAPSHOTS)
    untraced = not collector.statements
    for name in plan.databases:
        current = await expected(deployment, name, plan.current[name], majors[name])
        target = await expected(deployment, name, plan.after[name], majors[name])
        before, after = current.snapshot, target.snapshot
        collector.notes += filter(None, (current.note, target.note))
        collector.before.setdefault(name, before)
        collector.add(compare_by_name(collector.namers[name], before, after))
        if untraced:
            # Probes of rows need statements: these changes, as if one had made them all.
            collector.statements.append(
                TracedStatement(name, 1, "", "", changes=changes_between(before, after))
            )


async def _from_rehearsal(
    deployment: Deployment, collector: LossCollector, seconds: float, notify: Notify
) -> None:
    from circle_migrate.safety.losses.rehearse import rehearse

    namers = collector.namers
    rehearsal = await rehearse(deployment, collector.plan, collector.statements, seconds, notify)
    collector.methods.append(Method.REHEARSAL)
    collector.skipped, collector.altered = rehearsal.skipped, rehearsal.altered
    collector.add_watched(rehearsal.watch)
    collector.add(rehearsal.losses(namers))
    collector.failures += filter(None, [rehearsal.failure])
    collector.notes += filter(None, [rehearsal.note])
    if rehearsal.moved:
        moved = ", ".join(namers[name].name(sequence) for name, sequence in sorted(rehearsal.moved))
        collector.notes.append(f"not undone by the rollback: {moved} moved, as sequences do")
    collector.losses = [_with_inserts(loss, rehearsal, namers) for loss in collector.losses]
    # The rehearsal has counted the rows that these statements delete or change.
    collector.statements = [
        replace(statement, work=())
        if f"{statement.database}@{statement.revision}" in rehearsal.done
        else statement
        for statement in collector.statements
    ]


def _with_inserts(loss: Loss, rehearsal: Rehearsal, namers: Mapping[str, LossNamer]) -> Loss:
    """Add to a table or column that goes what its revision inserts elsewhere: the rows may live on there."""
    if loss.effect is not Effect.DROPPED or loss.kind not in ("table", "column"):
        return loss
    inserts = rehearsal.inserted(loss.database, loss.revision, namers[loss.database])
    return replace(loss, detail=", ".join(filter(None, (loss.detail, inserts))))
