"""`downgrade`: undo the revisions above the targets, after a confirmation, and a backup if data is lost."""

import logging
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from circle_migrate.backup.manifest import MANIFEST
from circle_migrate.commands.backup import BackupOptions, backup, plan_dumps
from circle_migrate.commands.drift import DriftGate
from circle_migrate.commands.plan import SavedPlan
from circle_migrate.core.errors import MigrateError, SettingsError
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.migrate.contradictions import plan_in_agreement
from circle_migrate.migrate.guards import ensure_not_in_doubt, ensure_own_tables, ensure_writable
from circle_migrate.migrate.planner import Planner, ensure_same_plan
from circle_migrate.migrate.protection import ProtectionGuard
from circle_migrate.migrate.result import MigrationResult, RestoreInstructions, plan_settings
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction, Plan
from circle_migrate.safety.losses.find import LossCollector
from circle_migrate.safety.losses.report import LossReport

Confirm = Callable[[Plan], None]
"""Ask whether to run the plan. Raises `NotConfirmed` if the answer is no."""

DEFAULT_FOLDER = Path("backups")
"""The default folder of backups, relative to the current directory; the default of `backup`, too."""


@dataclass(frozen=True, slots=True)
class BackupDecision:
    """The options of the backup, None for no backup; a sentence for the user; the reason for no backup."""

    options: BackupOptions | None = None
    explanation: str = ""
    skip_reason: str = ""


@dataclass(frozen=True, slots=True)
class BackupPolicy:
    """The options of a backup, None for no backup; without `always` it is made only if data would be lost."""

    options: BackupOptions | None = None
    always: bool = False

    def decide(self, deployment: Deployment, states: Mapping[str, State], *, lossy: bool) -> BackupDecision:
        """Decide on a backup. Raises `SettingsError` if one is required and there is no suitable pg_dump."""
        if not (lossy or self.always):
            return BackupDecision()
        if self.options is None:
            return BackupDecision(explanation="no backup is made", skip_reason="--no-backup")
        try:
            plan_dumps(Deployment(deployment.settings, states), states, self.options)
        except SettingsError as error:
            if self.always or self.options.programs or self.options.encrypt_to:
                raise
            return BackupDecision(
                explanation=f"no backup is made: {error.message}", skip_reason=error.message
            )
        names = " and ".join(states)
        return BackupDecision(
            self.options, f"a backup of {names} goes to {self.options.folder} before anything runs"
        )


class BackupHooks(Hooks):
    """Back up under the deployer locks of the run, and add the restore command to the `notes` of the run."""

    def __init__(self, options: BackupOptions, notes: dict[str, object]) -> None:
        self.restore_instructions: RestoreInstructions | None = None
        self._options = options
        self._notes = notes

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:  # noqa: ARG002 - as declared
        """Dump every database of the run. Raises the errors of `backup`."""
        deployment = Deployment(run.deployment.settings, run.sessions)
        try:
            result = await backup(deployment, self._options, locked=True, notify=run.notify)
        except MigrateError as error:
            error.state = "there is no backup; nothing was changed"
            error.hint = "; ".join(filter(None, (error.hint, "to downgrade without a backup: --no-backup")))
            raise
        path = str(Path(result.folder) / MANIFEST)
        argv = ["circle-migrate", "restore", path, "--replace"]
        if len(deployment.selected) < len(deployment.databases):
            argv += [word for name in deployment.selected for word in ("--database", name)]
        if deployment.settings.embedded:
            argv.append("--embedded")
        if any(dump.encrypted for dump in result.manifest.dumps):
            argv += ["--identity", "KEYFILE"]
        self.restore_instructions = RestoreInstructions(
            result.manifest.id, path, shlex.join(argv), result.notes
        )
        self._notes["backup"] = self.restore_instructions.to_dict()


@dataclass(frozen=True, slots=True)
class LossConfirmation:
    """Functions that `find` the losses of a plan, and `accept` them or raise `NotConfirmed`."""

    find: Callable[[Plan], Awaitable[LossCollector]]
    accept: Callable[[LossReport], None]


async def downgrade(
    deployment: Deployment,
    targets: Sequence[str],
    *,
    confirm: Confirm | LossConfirmation,
    cascade: bool = False,
    keep: bool = False,
    backup_policy: BackupPolicy = BackupPolicy(),
    dry_run: bool = False,
    saved_plan: SavedPlan | None = None,
    overridden: Sequence[str] = (),
    notify: Notify = ignore_event,
) -> MigrationResult | LossReport:
    """Undo every revision above the targets after `confirm` has confirmed exactly that plan.

    With a `LossConfirmation`, a dry run returns the report of the losses, and a run that would lose more than
    was accepted is stopped. `keep` copies lost rows to side tables, `backup_policy` decides on a backup under
    the same locks. Raises `Refused` for a protected database that is not in `overridden`, `SchemaChanged` as
    the setting `drift` says, and the errors of plans and backups.
    """
    guard = ProtectionGuard(deployment, overridden)
    guards = (saved_plan.guard(deployment),) if saved_plan else ()
    planner = Planner(deployment, targets, Direction.DOWN, cascade, guards=guards)
    names = deployment.planned_databases(Direction.DOWN)
    states = await deployment.states(names)
    plan = await plan_in_agreement(deployment, states, planner)
    ensure_own_tables(states, reading=True)
    guard.check_override_names(states)
    if not dry_run:
        guard.ensure_unprotected(states, plan.databases)
    drift_gate = DriftGate(deployment)
    notes = await drift_gate.check(plan, states)
    if saved_plan is not None:
        saved_plan.ensure_same_schemas(drift_gate.changed)
    if dry_run or not plan:
        ensure_not_in_doubt(states)
        notes = (*guard.protection_notes(states, plan.databases), *notes)
        if not (dry_run and isinstance(confirm, LossConfirmation)):
            shown = plan_settings(deployment)
            return MigrationResult("downgrade", plan, **shown, dry_run=dry_run, notes=notes)
    for note in notes if not dry_run else ():
        logging.getLogger("circle_migrate").warning(note)  # before the question
    decision, collector, report = await _confirm(
        deployment, plan, states, confirm, backup_policy, notes if dry_run else (), keep=keep, dry_run=dry_run
    )
    if dry_run and report is not None:
        return report

    from circle_migrate.migrate.executor import RunOptions, execute
    from circle_migrate.migrate.kept_data.hooks import KeepHooks
    from circle_migrate.safety.losses.growth_guard import GrowthHooks

    journal_notes: dict[str, object] = {}
    if report is not None and report.destroyed:
        journal_notes["losses"] = report.to_dict()
    if decision.skip_reason:
        journal_notes["backup"] = {"none": decision.skip_reason}
    keep_hooks = KeepHooks() if keep else None
    backup_hooks = BackupHooks(decision.options, journal_notes) if decision.options else None
    growth_hooks = None
    if collector is not None and report is not None and not keep:
        growth_hooks = GrowthHooks(collector, report)
    # The check runs again after a backup, which does not contain rows written since its snapshot.
    hooks = Hooks(*filter(None, (keep_hooks, growth_hooks, backup_hooks, backup_hooks and growth_hooks)))
    options = RunOptions(
        "downgrade",
        allow_edited=True,
        hooks=hooks,
        guard=guard,
        notes=journal_notes,
        assess_drift=drift_gate.assess,
    )
    planner = planner.guarded(partial(ensure_same_plan, plan))
    try:
        outcome = await execute(deployment, names, planner, notify, options)
    except MigrateError as error:
        if backup_hooks is not None and backup_hooks.restore_instructions is not None:
            state = f"the backup from before the run is {backup_hooks.restore_instructions.manifest}"
            error.state = "; ".join(filter(None, (error.state, state)))
        raise
    return MigrationResult(
        "downgrade",
        outcome.plan,
        **plan_settings(deployment),
        run=outcome.run,
        seconds=tuple(applied.seconds for applied in outcome.applied),
        kept=keep_hooks.counts if keep_hooks else (),
        warnings=outcome.warnings,
        restore_instructions=backup_hooks.restore_instructions if backup_hooks else None,
    )


async def _confirm(
    deployment: Deployment,
    plan: Plan,
    states: Mapping[str, State],
    confirm: Confirm | LossConfirmation,
    backup_policy: BackupPolicy,
    notes: Sequence[str],
    *,
    keep: bool,
    dry_run: bool,
) -> tuple[BackupDecision, LossCollector | None, LossReport | None]:
    """Show the notes and losses and ask, unless the run is refused anyway. A dry run only finds the losses.

    Returns the decision on a backup, and the losses if they were assessed.
    """
    decide = partial(backup_policy.decide, deployment, states)
    decision = decide(lossy=False) if plan else BackupDecision()  # raises before the losses are sought
    if not isinstance(confirm, LossConfirmation):
        confirm(plan)
        return decision, None, None
    ensure_not_in_doubt(states)
    for name in () if dry_run else plan.databases:
        ensure_writable(states[name])
    from circle_migrate.safety.losses.count import loss_report

    collector = await confirm.find(plan)
    report = await loss_report(deployment, collector)
    if keep:
        from circle_migrate.safety.losses.growth_guard import ensure_restorable

        await ensure_restorable(deployment, report)
    if plan and report.destroyed and not keep:
        decision = decide(lossy=True)
    notes = [note.replace("\n  ", "; ") for note in notes]
    report = replace(report, notes=(*notes, *report.notes, *filter(None, [decision.explanation])))
    if not dry_run:
        confirm.accept(report)
    return decision, collector, report
