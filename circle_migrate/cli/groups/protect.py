"""Commands that keep a database from being moved back: protect, unprotect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import Overridden
from circle_migrate.core.errors import UsageError

if TYPE_CHECKING:
    from circle_migrate.core.result import Result

_PANEL = "Keep"
_RUNNING = ("atomic", "lock_wait")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(
        app,
        panel=_PANEL,
        running=_RUNNING,
        examples=('circle-migrate protect --reason "live since March, ask the platform team"',),
    )
    async def protect(
        call: CommandContext,
        reason: Annotated[
            str | None, typer.Option(metavar="TEXT", help="Why; shown to whoever is refused.")
        ] = None,
    ) -> Result:
        """Refuse downgrades, stamps and replacing restores from now on, by a marker in the database."""
        from circle_migrate.commands.protect import protect as action

        if reason is not None and not (reason.strip() and reason.isprintable()):
            raise UsageError("the reason is not a line of text", hint="give one, or leave out --reason")
        return await action(await call.ready(call.deployment()), reason, call.notify())

    @command(app, panel=_PANEL, running=_RUNNING, examples=("circle-migrate unprotect --database main",))
    async def unprotect(call: CommandContext, override_protection: Overridden = None) -> Result:
        """Remove the marker of the database named with --database. Its name has to be typed."""
        from circle_migrate.cli.confirm import confirm_unprotect
        from circle_migrate.commands.protect import unprotect as action

        if call.database is None:
            raise UsageError("unprotect is for one database at a time", hint="name it: --database NAME")
        named = override_protection or []
        if any(name != call.database for name in named):
            raise UsageError(
                f"this is about {call.database}, and --override-protection names another one",
                hint=f"--override-protection {call.database}, or leave it out and type the name",
            )
        deployment = await call.ready(call.deployment())
        return await action(deployment, confirm_unprotect(named), call.notify())
