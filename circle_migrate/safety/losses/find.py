"""Find the losses of a downgrade before it runs.

The downgrade runs on scratch databases at the live ones' revisions, and catalogs are compared there by the
addresses of objects. That shows the effects of `op.execute`, helpers and CASCADE, and tells a rename from a
column that is dropped and added again. The effects of a revision's own statements depend on live rows: on
request the downgrade is rehearsed on the live databases and rolled back. Databases without data lose none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError, MigrationFailed
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.diff.expected.expected import expected
from circle_migrate.postgres.catalog.snapshot import Snapshot, changes_between
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.revision_graph.plan import Plan
from circle_migrate.safety.live_database.no_data import databases_with_data
from circle_migrate.safety.losses.report import Effect, Failure, Loss, LossNamer, Method, merge
from circle_migrate.safety.trace.record import TracedStatement
from circle_migrate.safety.trace.run import trace_plan

if TYPE_CHECKING:
    from circle_migrate.safety.losses.catalog_losses import CatalogWatch, LossHooks
    from circle_migrate.safety.losses.rehearse import Rehearsal
    from circle_migrate.safety.trace.recorder import TraceHooks

_NO_SCRATCH = (
    "there is no server for scratch databases: only the snapshots of the revisions were compared, by name. "
    "Rows that a revision deletes or changes are not reported, and a rename is reported as a loss. "
    "For the full report, pip install 'circle-migrate[embedded]' or use --scratch-url URL"
)
_NO_START = "scratch databases could not be upgraded to the current revisions, snapshots were compared"
_INCOMPLETE = "the downgrade failed on scratch databases: the losses in its snapshots were added, by name"


@dataclass
class LossCollector:
    """The losses of a plan as the methods find them, without counts.

    `before` has the catalogs before the plan, `statements` those of the trace. `skipped` and `altered` are
    those of the rehearsal.
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
        """Add losses; the first of two that are the same has more details."""
        self.losses = merge(self.losses, losses)

    def add_watched(self, watch: CatalogWatch) -> None:
        """Add the losses in the catalogs that were recorded during a run."""
        for name, catalog in watch.before.items():
            known = self.before[name].objects if name in self.before else {}
            objects = {**catalog.snapshot.objects, **known}
            self.before[name] = replace(catalog.snapshot, objects=objects)
            self.add(watch.losses(self.namers[name]))


async def find_losses(
    deployment: Deployment,
    plan: Plan,
    *,
    rehearse: bool = False,
    keep: bool = False,
    seconds: float = 5.0,
    notify: Notify = ignore_event,
) -> LossCollector:
    """Find the losses of the plan, which `count.loss_report` counts.

    Where no database has data there are none, unless rows that are written later are to be kept (`keep`).
    Without a server for scratch databases the shipped snapshots are compared, and the report says so. A
    rehearsal takes the deployer locks and blocks other sessions for at most `seconds`. Raises `SettingsError`
    where there is no server or snapshot, what connecting raises, `NotWritable` and `Interrupted`.
    """
    paths = {name: deployment.databases[name].settings.effective_path for name in plan.databases}
    collector = LossCollector(plan, {name: LossNamer.of(name, path) for name, path in paths.items()})
    databases = [deployment.databases[name] for name in plan.databases]
    if plan and not rehearse and not keep and not await databases_with_data(databases):
        collector.methods.append(Method.NO_DATA)
    elif plan:
        await _from_scratch(deployment, collector)
        if rehearse:
            await _from_rehearsal(deployment, collector, seconds, notify)
    return collector


async def _from_scratch(deployment: Deployment, collector: LossCollector) -> None:
    """Run the plan on scratch databases; compare snapshots where that fails."""
    plan = collector.plan
    states = await deployment.states(plan.databases)
    majors = {name: state.server_version_num // 10000 for name, state in states.items()}
    major = majors[plan.databases[0]]
    async with ScratchServers(deployment) as servers:
        available = await servers.majors(plan.databases[0], major)
    if not available:
        collector.notes.append(_NO_SCRATCH)
        await _from_snapshots(deployment, collector, majors)
        return
    hooks: list[LossHooks] = []

    def make_hooks() -> TraceHooks:
        from circle_migrate.safety.losses.catalog_losses import CatalogWatch, LossHooks

        hooks.append(LossHooks(CatalogWatch(plan)))
        return hooks[0]

    try:
        traced = await trace_plan(deployment, plan, major=major, make_hooks=make_hooks)
    except MigrationFailed as error:
        collector.notes.append(f"{_NO_START}: {error.message}")
        await _from_snapshots(deployment, collector, majors)
        return
    collector.methods.append(Method.SCRATCH)
    collector.notes += traced.notes
    collector.statements += traced.statements
    collector.add_watched(hooks[0].watch)
    for statement in traced.statements:
        if statement.error is not None:
            location = f"{statement.file}:{statement.line}" if statement.file else None
            where = statement.database, statement.revision, Method.SCRATCH
            collector.failures.append(Failure(*where, str(statement.error), location))
    if collector.failures or traced.untraced:
        try:
            await _from_snapshots(deployment, collector, majors)
        except MigrateError as error:
            collector.notes.append(f"the snapshots of the revisions could not be compared: {error.message}")
        else:
            collector.notes.append(_INCOMPLETE)


async def _from_snapshots(
    deployment: Deployment, collector: LossCollector, majors: Mapping[str, int]
) -> None:
    """Compare the snapshots of the current revisions and of the target, by name."""
    from circle_migrate.safety.losses.catalog_losses import compare_by_name

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
            # Probes are derived from statements: here from one with all changes.
            changes = changes_between(before, after)
            collector.statements.append(TracedStatement(name, 1, "", "", changes=changes))


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
    if rehearsal.advanced:
        advanced = ", ".join(namers[name].name(sequence) for name, sequence in sorted(rehearsal.advanced))
        collector.notes.append(f"a rollback does not reset sequences: the rehearsal advanced {advanced}")
    collector.losses = [_with_inserts(loss, rehearsal, namers[loss.database]) for loss in collector.losses]
    # The rehearsal has counted the rows that these statements delete or change.
    collector.statements = [
        replace(statement, work=(), read_by_code=None)
        if statement.qualified in rehearsal.completed
        else statement
        for statement in collector.statements
    ]


def _with_inserts(loss: Loss, rehearsal: Rehearsal, namer: LossNamer) -> Loss:
    """Add to a dropped table or column the inserts of its revision, which may save its rows elsewhere."""
    if loss.effect is not Effect.DROPPED or loss.kind not in ("table", "column"):
        return loss
    inserts = [
        f"{rows.inserted:,} into {namer.name(rows.relation)}"
        for rows in rehearsal.rows
        if (rows.database, rows.revision) == (loss.database, loss.revision) and rows.inserted
    ]
    text = f"the same revision inserts {', '.join(inserts)}" if inserts else ""
    return replace(loss, detail=", ".join(filter(None, (loss.detail, text))))
