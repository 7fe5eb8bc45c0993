"""The commands init, upgrade, downgrade, plan and recover."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.cli import options as shared
from circle_migrate.cli.command import Declarations, command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import (
    MARKDOWN,
    RUN,
    SCRATCH,
    SIZES,
    Format,
    flag,
    option,
    safety_flag,
    safety_option,
)
from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result

if TYPE_CHECKING:
    from circle_migrate.commands.downgrade import BackupPolicy
    from circle_migrate.commands.plan import SavedPlan
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.safety.gate import SafetyGate
    from circle_migrate.safety.hazards.hazard import HazardClass
    from circle_migrate.safety.result import SafetyReport

_PANEL = "Migrate"
_PLAN = ("atomic", "transaction", "statement_timeout", "drift", *SCRATCH)


def register(app: Declarations) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, options=RUN)
    async def init(context: CommandContext, into_existing: bool = shared.INTO_EXISTING) -> Result:
        """Create missing databases and upgrade them to head."""
        from circle_migrate.commands.upgrade import initialise
        from circle_migrate.postgres.create_database import create_missing

        deployment = context.deployment()
        created = await create_missing(deployment)
        return await initialise(deployment, created, context.progress, into_existing=into_existing)

    @command(app, panel=_PANEL, options=(*RUN, "safety", *SIZES), negative_arguments=True)
    async def upgrade(
        context: CommandContext,
        target: list[str] | None = shared.targets(show_default="head"),
        dry_run: bool = shared.DRY_RUN,
        sql: bool = shared.SQL,
        plan: Path | None = shared.PLAN_FILE,
        into_existing: bool = shared.INTO_EXISTING,
        allow_edited: bool = safety_flag(
            "--allow-edited", "Run although files of applied revisions have changed."
        ),
        allow: list[str] | None = safety_option(
            "CLASS", "Allow dangers of this class, for example data-loss. Repeatable."
        ),
        no_restore_kept: bool = flag(
            "--no-restore-kept", "Do not restore the rows that `downgrade --keep` kept."
        ),
    ) -> Result:
        """Apply pending revisions up to head or to TARGET.

        The transactions on all databases stay open until every step on each has succeeded.

        Examples:
            circle-migrate upgrade --dry-run # show the plan
            circle-migrate upgrade # all databases to head
            circle-migrate upgrade credentials@+1 # one step, one database
            circle-migrate upgrade --atomic --safety require --allow data-loss
            circle-migrate upgrade --sql main@base:head > main.sql
        """
        saved_plan = _saved_plan(plan, target, "upgrade")
        targets = saved_plan.targets if saved_plan else target or ["head"]
        if sql:
            return await _script(context, targets, "up")
        from circle_migrate.commands.upgrade import upgrade as action

        deployment = await context.ready()
        return await action(
            deployment,
            targets,
            dry_run=dry_run,
            into_existing=into_existing,
            allow_edited=allow_edited,
            saved_plan=saved_plan,
            gate=_gate(context, deployment, allow or ()),
            restore_kept=not no_restore_kept,
            notify=context.progress,
        )

    @command(app, panel=_PANEL, options=(*RUN, "pg_bin"), formats=MARKDOWN, negative_arguments=True)
    async def downgrade(
        context: CommandContext,
        target: list[str] | None = shared.targets(),
        dry_run: bool = shared.DRY_RUN,
        sql: bool = shared.SQL,
        yes: bool = shared.YES,
        accept_loss: list[str] | None = safety_option(
            "NAME", "Accept the loss with this name in the report. Repeatable."
        ),
        plan: Path | None = shared.PLAN_FILE,
        cascade: bool = shared.CASCADE,
        keep: bool = safety_flag("--keep", "Keep lost rows in side tables; the next upgrade restores them."),
        backup: Path | None = safety_option(
            "DIR",
            "Back up all databases to a new folder in DIR first. The default is backups/, "
            "where data is lost and pg_dump is available.",
        ),
        no_backup: bool = safety_flag("--no-backup", "Make no backup; the journal records this."),
        encrypt_to: str | None = shared.ENCRYPT_TO,
        rehearse: bool = safety_flag(
            "--rehearse", "Find losses by a run on the live databases that is rolled back."
        ),
        rehearse_timeout: float = safety_option(
            "SECONDS",
            "Limit the rehearsal, which blocks other sessions.",
            default=5.0,
            min=0.1,
            show_default="5",
        ),
        override_protection: list[str] | None = shared.OVERRIDE_PROTECTION,
        to_run: str | None = option("RUN", "Go back to the end of this run of `circle-migrate log`."),
        to_release: str | None = option("VERSION", "Go back to the end of the last run of this release."),
        to_time: str | None = option(
            "TIME", "Go back to this time, for example 2030-12-31T18:00; it is UTC unless it has an offset."
        ),
    ) -> Result:
        """Undo every revision above TARGET. Shows the losses and asks first.

        --dry-run only shows the losses. Exit status 5 where there are any.

        Examples:
            circle-migrate downgrade -1 --dry-run # show what would be lost
            circle-migrate downgrade main@-1 --keep # keep lost rows in side tables
            circle-migrate downgrade --to-run 25b30b16
            circle-migrate downgrade -1 --accept-loss main.users.phone --backup /srv
        """
        saved_plan = _saved_plan(plan, target, "downgrade")
        targets = saved_plan.targets if saved_plan else target
        if len(list(filter(None, (targets, to_run, to_release, to_time)))) != 1:
            raise UsageError(
                "a downgrade needs one target",
                hint="give -1, base, a revision id, --plan FILE, --to-run, --to-release or --to-time",
            )
        deployment = None
        if not targets:
            deployment = await context.ready()
            targets = await _past_targets(context, deployment, to_run, to_release, to_time)
        if sql:
            return await _script(context, targets, "down")
        if Format.MARKDOWN in context.formats and not dry_run:
            raise UsageError("the format markdown needs --dry-run", hint="add --dry-run, or leave it out")
        from circle_migrate.cli.confirm import accept_losses
        from circle_migrate.commands.downgrade import LossConfirmation
        from circle_migrate.commands.downgrade import downgrade as action
        from circle_migrate.safety.losses.find import find_losses

        deployment = deployment or await context.ready()
        find = partial(
            find_losses,
            deployment,
            rehearse=rehearse,
            keep=keep,
            seconds=rehearse_timeout,
            notify=context.progress,
        )
        accept = partial(accept_losses, accept_loss or (), yes=yes, keep=keep)
        return await action(
            deployment,
            targets,
            confirm=LossConfirmation(find, accept),
            cascade=saved_plan.cascade if saved_plan else cascade,
            keep=keep,
            backup_policy=_backup_policy(deployment, backup, encrypt_to, no_backup=no_backup),
            dry_run=dry_run,
            saved_plan=saved_plan,
            overridden=override_protection or (),
            notify=context.progress,
        )

    @command(app, panel=_PANEL, options=_PLAN, formats=MARKDOWN, negative_arguments=True)
    async def plan(
        context: CommandContext,
        target: list[str] | None = shared.targets("Plan up to this revision", show_default="head"),
        down: bool = shared.DOWN,
        output: Path | None = option("FILE", "Save the plan for --plan FILE.", "--output", "-o"),
        cascade: bool = shared.CASCADE,
        into_existing: bool = shared.INTO_EXISTING,
    ) -> Result:
        """Show the steps, their transactions, and why each transaction ends.

        Examples:
            circle-migrate plan # what an upgrade would do
            circle-migrate plan -o plan.json # for upgrade --plan plan.json
            circle-migrate plan --down main@-1 --cascade
        """
        from circle_migrate.commands.plan import plan as action
        from circle_migrate.commands.plan import save
        from circle_migrate.revision_graph.plan import Direction

        if down and not target:
            raise UsageError("a downgrade needs a target", hint="give -1, base or a revision id")
        targets = target or ["head"]
        direction = Direction.DOWN if down else Direction.UP
        deployment = await context.ready()
        result = await action(deployment, targets, direction, cascade=cascade, into_existing=into_existing)
        if output is None:
            return result
        return save(result, targets, direction, output, cascade=cascade)

    @command(app, panel=_PANEL, options=("lock_wait", "events"))
    async def recover(context: CommandContext, dry_run: bool = shared.DRY_RUN) -> Result:
        """Finish prepared transactions and mark unfinished runs after a crash."""
        from circle_migrate.commands.recover import recover as action

        return await action(await context.ready(), dry_run=dry_run, notify=context.progress)


def _backup_policy(
    deployment: Deployment, folder: Path | None, encrypt_to: str | None, *, no_backup: bool
) -> BackupPolicy:
    """Return when to back up the databases. Raises `UsageError` for contradicting options."""
    from circle_migrate.commands.backup import BackupOptions
    from circle_migrate.commands.downgrade import DEFAULT_FOLDER, BackupPolicy

    if no_backup and (folder or encrypt_to):
        raise UsageError(
            "--no-backup contradicts --backup and --encrypt-to", hint="leave out --no-backup or the others"
        )
    options = BackupOptions((folder or DEFAULT_FOLDER).absolute(), deployment.settings.pg_bin, encrypt_to)
    return BackupPolicy(None if no_backup else options, always=folder is not None)


def _saved_plan(path: Path | None, target: list[str] | None, command_name: str) -> SavedPlan | None:
    """Load a plan. Raises `UsageError` for a target beside it, and for the plan of the other command."""
    if path is None:
        return None
    from circle_migrate.commands.plan import SavedPlan

    saved_plan = SavedPlan(path)
    if target:
        raise UsageError("a saved plan has its own targets", hint="leave out TARGET or --plan")
    name = "downgrade" if saved_plan.direction == "down" else "upgrade"
    if name != command_name:
        raise UsageError(f"{path} is the plan of a {name}", hint=f"circle-migrate {name} --plan {path}")
    return saved_plan


async def _past_targets(
    context: CommandContext, deployment: Deployment, run: str | None, release: str | None, time: str | None
) -> list[str]:
    """Return the targets that lead back to a past run, release or time, and show them."""
    from circle_migrate.commands.journal_target import Moment, parse_time, targets_at

    moment = Moment(run, release, parse_time(time) if time else None)
    targets = await targets_at(deployment, moment)
    context.progress.say(f"downgrade to {' '.join(targets)}, which was current {moment}")
    return targets


async def _script(context: CommandContext, targets: list[str], direction: str) -> Result:
    from circle_migrate.commands.sql_script import script
    from circle_migrate.revision_graph.plan import Direction

    offline = all(":" in target for target in targets)
    return await script(context.files() if offline else await context.ready(), targets, Direction(direction))


def _gate(context: CommandContext, deployment: Deployment, allow: Sequence[str]) -> SafetyGate | None:
    """Return the gate, or None for `--safety off`. Raises `UsageError` for an unknown hazard class."""
    mode = deployment.settings.safety
    if mode == "off":
        if allow:
            raise UsageError("--allow has no effect with --safety off", hint="add --safety require")
        return None
    from circle_migrate.safety.gate import SafetyGate

    allowed = frozenset(map(_hazard_class, allow))

    def show(report: SafetyReport) -> None:
        for line in _warnings(report, allowed):
            context.progress.warn(line)

    def say(text: str) -> None:
        context.progress.say(f"safety: {text}")

    return SafetyGate(deployment, mode == "require", allowed, show, say)


def _hazard_class(name: str) -> HazardClass:
    from circle_migrate.safety.hazards.hazard import HazardClass

    if name not in list(HazardClass):
        raise UsageError(f"there is no hazard class {name!r}", hint="classes: " + ", ".join(HazardClass))
    return HazardClass(name)


def _warnings(report: SafetyReport, allowed: frozenset[HazardClass]) -> list[str]:
    """Return the report's warnings, and dangers that are not allowed, without alternative code."""
    from circle_migrate.cli.console import console
    from circle_migrate.cli.render.safety import write_safety_finding
    from circle_migrate.core.findings import Severity
    from circle_migrate.safety.result import HazardFinding

    buffer = StringIO()
    screen = console(buffer)
    for finding in report.findings:
        is_allowed = isinstance(finding, HazardFinding) and finding.hazard.kind in allowed
        if finding.severity is not Severity.NOTE and not is_allowed:
            write_safety_finding(finding, screen)
    lines = buffer.getvalue().splitlines()
    return [f"safety: {report.coverage.description}", *lines] if lines else []
