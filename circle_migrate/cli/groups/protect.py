"""The commands protect and unprotect."""

from __future__ import annotations

from functools import partial

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import OVERRIDE_PROTECTION, option
from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result

_PANEL = "Keep"
_OPTIONS = ("atomic", "lock_wait")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(
        app,
        panel=_PANEL,
        options=_OPTIONS,
        examples=('circle-migrate protect --reason "live since March, ask the platform team"',),
    )
    async def protect(
        context: CommandContext,
        reason: str | None = option("TEXT", "Show this reason in every refusal."),
    ) -> Result:
        """Mark databases as protected: downgrades, stamps and replacing restores are refused."""
        from circle_migrate.commands.protect import protect as action

        if reason is not None and not (reason.strip() and reason.isprintable()):
            raise UsageError("the reason is not a line of text", hint="give a reason, or leave out --reason")
        return await action(await context.ready(), reason, context.progress)

    @command(app, panel=_PANEL, options=_OPTIONS, examples=("circle-migrate unprotect --database main",))
    async def unprotect(
        context: CommandContext, override_protection: list[str] | None = OVERRIDE_PROTECTION
    ) -> Result:
        """Remove the protection of one database. Give --database, and type its name to confirm."""
        from circle_migrate.cli.confirm import confirm_unprotect
        from circle_migrate.commands.protect import unprotect as action

        if context.database is None:
            raise UsageError("unprotect takes one database at a time", hint="add --database NAME")
        overridden = override_protection or []
        if any(name != context.database for name in overridden):
            raise UsageError(
                f"--database names {context.database}, --override-protection another database",
                hint=f"--override-protection {context.database}, or leave it out and type the name",
            )
        return await action(await context.ready(), partial(confirm_unprotect, overridden), context.progress)
