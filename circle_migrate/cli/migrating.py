"""Commands that migrate: init, upgrade, downgrade, plan, recover."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.call import RUNNING, Call, command
from circle_migrate.cli.options import Cascade, DownTargets, DryRun, OptionalTargets, SavedPlan, Sql, Yes
from circle_migrate.core.plan import Direction
from circle_migrate.errors import UsageError

if TYPE_CHECKING:
    from circle_migrate.core.result import Result
    from circle_migrate.planning import Saved

_PANEL = "Migrate"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, running=tuple(RUNNING))
    async def init(call: Call) -> Result:
        """Create missing databases and bring them to head."""
        from circle_migrate.create import create_missing
        from circle_migrate.upgrade import initialise

        deployment = call.deployment()
        return await initialise(deployment, await create_missing(deployment), call.notify())

    @command(app, panel=_PANEL, running=tuple(RUNNING), signed=True)
    async def upgrade(
        call: Call,
        target: OptionalTargets = None,
        dry_run: DryRun = False,
        sql: Sql = False,
        plan: SavedPlan = None,
        allow_edited: Annotated[
            bool, typer.Option("--allow-edited", help="Although files of applied revisions have changed.")
        ] = False,
    ) -> Result:
        """Apply pending revisions, to head or to TARGET.

        Both databases go together: their transactions stay open until every step on both has succeeded.
        """
        saved = saved_plan(plan, target, Direction.UP)
        targets = saved.targets if saved else target or ["head"]
        if sql:
            return await _script(call, targets, up=True)
        from circle_migrate.upgrade import upgrade as action

        deployment = await call.ready(call.deployment())
        return await action(
            deployment,
            targets,
            dry_run=dry_run,
            allow_edited=allow_edited,
            saved=saved,
            notify=call.notify(),
        )

    @command(app, panel=_PANEL, running=tuple(RUNNING), signed=True)
    async def downgrade(
        call: Call,
        target: DownTargets = None,
        dry_run: DryRun = False,
        sql: Sql = False,
        yes: Yes = False,
        plan: SavedPlan = None,
        cascade: Cascade = False,
    ) -> Result:
        """Undo every revision above TARGET. Shows what goes and asks first."""
        saved = saved_plan(plan, target, Direction.DOWN)
        targets = saved.targets if saved else target
        if not targets:
            raise UsageError("a downgrade needs a target", hint="-1, base, a revision id, or --plan FILE")
        if sql:
            return await _script(call, targets, up=False)
        from circle_migrate.cli.confirm import confirm_downgrade
        from circle_migrate.downgrade import downgrade as action

        deployment = await call.ready(call.deployment())
        confirm = confirm_downgrade(yes=yes)
        return await action(
            deployment,
            targets,
            confirm=confirm,
            cascade=saved.cascade if saved else cascade,
            dry_run=dry_run,
            saved=saved,
            notify=call.notify(),
        )

    @command(app, panel=_PANEL, running=("atomic", "transaction"), signed=True)
    async def plan(
        call: Call,
        target: DownTargets = None,
        down: Annotated[bool, typer.Option("--down", help="Of a downgrade.")] = False,
        output: Annotated[
            Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save it, for --plan FILE.")
        ] = None,
        cascade: Cascade = False,
    ) -> Result:
        """Show the steps, the transactions they share, and why each ends where it does."""
        from circle_migrate.planning import plan as action
        from circle_migrate.planning import save

        if down and not target:
            raise UsageError("the plan of a downgrade needs a target", hint="-1, base or a revision id")
        targets = target or ["head"]
        direction = Direction.DOWN if down else Direction.UP
        deployment = await call.ready(call.deployment())
        planned = await action(deployment, targets, direction, cascade=cascade)
        if output is None:
            return planned
        save(planned, targets, direction, output, cascade=cascade)
        return replace(planned, file=str(output))

    @command(app, panel=_PANEL, running=("lock_wait",))
    async def recover(call: Call, dry_run: DryRun = False) -> Result:
        """Settle what a crash left behind: prepared transactions of ours and runs that never ended."""
        from circle_migrate.recover import recover as action

        deployment = await call.ready(call.deployment())
        return await action(deployment, dry_run=dry_run, notify=call.notify())


def saved_plan(path: Path | None, target: list[str] | None, direction: Direction) -> Saved | None:
    """The plan in the file, which stands for the target. Raises `UsageError` for both, or the other way."""
    if path is None:
        return None
    from circle_migrate.planning import Saved

    saved = Saved(path)
    if target:
        raise UsageError("a saved plan has its own targets", hint="leave out TARGET or --plan")
    if saved.direction is not direction:
        word = "downgrade" if saved.direction is Direction.DOWN else "upgrade"
        raise UsageError(f"{path} is the plan of a {word}", hint=f"circle-migrate {word} --plan {path}")
    return saved


async def _script(call: Call, targets: list[str], *, up: bool) -> Result:
    from circle_migrate.script import script

    offline = all(":" in text for text in targets)
    deployment = call.files() if offline else await call.ready(call.deployment())
    return await script(deployment, targets, Direction.UP if up else Direction.DOWN)
