"""Commands that keep what the databases hold: backup, restore, kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.command import command, group
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import EncryptTo, Overridden, Yes
from circle_migrate.core.errors import UsageError

if TYPE_CHECKING:
    from circle_migrate.core.result import Result

_PANEL = "Keep"
_RUNNING = ("lock_wait", "pg_bin")
_KEPT_RUNNING = ("atomic", "lock_wait", "lock_timeout")


_Names = Annotated[
    list[str],
    typer.Argument(metavar="RUN|ID", help="A run, by the beginning of its id, or one entry: main/3."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(
        app,
        panel=_PANEL,
        running=_RUNNING,
        examples=(
            "circle-migrate backup [dim]# a new folder in backups/[/dim]",
            "circle-migrate backup /srv/backups --encrypt-to age1… [dim]# credentials encrypted[/dim]",
        ),
    )
    async def backup(
        call: CommandContext,
        folder: Annotated[
            Path, typer.Argument(metavar="FOLDER", help="Where the backup gets a folder of its own.")
        ] = Path("backups"),
        encrypt_to: EncryptTo = None,
    ) -> Result:
        """Dump both databases from one moment: files, checksums, revisions, and a manifest of them."""
        from circle_migrate.commands.backup import BackupOptions
        from circle_migrate.commands.backup import backup as action

        deployment = await call.ready(call.deployment())
        keeping = BackupOptions(folder.absolute(), deployment.settings.pg_bin, encrypt_to)
        return await action(deployment, keeping, notify=call.notify())

    @command(
        app,
        panel=_PANEL,
        running=_RUNNING,
        examples=(
            "circle-migrate restore backups/20260301T120000Z-1f2e3d [dim]# into empty databases[/dim]",
            "circle-migrate restore BACKUP --replace [dim]# asks; keeps the old databases[/dim]",
            "circle-migrate restore BACKUP --replace --accept-loss main --accept-loss credentials",
        ),
    )
    async def restore(
        call: CommandContext,
        manifest: Annotated[
            Path, typer.Argument(metavar="MANIFEST", help="The manifest of a backup, or its folder.")
        ],
        replace: Annotated[
            bool, typer.Option("--replace", help="Put it in the place of databases that are not empty.")
        ] = False,
        accept_loss: Annotated[
            list[str] | None,
            typer.Option(metavar="NAME", help="A database that may be replaced; instead of typing it."),
        ] = None,
        disconnect: Annotated[
            bool, typer.Option("--disconnect", help="End the sessions on what is replaced.")
        ] = False,
        jobs: Annotated[
            int,
            typer.Option(
                "--jobs",
                "-j",
                min=1,
                metavar="N",
                help="Tables and indexes at a time; 1: in one transaction.",
            ),
        ] = 1,
        identity: Annotated[
            Path | None, typer.Option(metavar="FILE", help="The key of `age` for an encrypted dump.")
        ] = None,
        no_owner: Annotated[
            bool, typer.Option("--no-owner", help="Everything will belong to the role that restores.")
        ] = False,
        no_privileges: Annotated[
            bool, typer.Option("--no-privileges", help="Grant nothing that was granted.")
        ] = False,
        override_protection: Overridden = None,
    ) -> Result:
        """Restore a backup into empty databases, or put it in the place of those that are there."""
        from circle_migrate.backup.preflight import RestoreOptions
        from circle_migrate.cli.confirm import confirm_replace
        from circle_migrate.commands.restore import restore as action

        if (accept_loss or disconnect or override_protection) and not replace:
            raise UsageError("nothing is replaced without --replace", hint="add --replace, or leave it out")
        deployment = await call.ready(call.deployment())
        accepted = accept_loss or []
        for name in accepted:
            if name not in deployment.databases:
                raise UsageError(
                    f"there is no database {name!r}", hint="databases: " + ", ".join(deployment.databases)
                )
        wanted = RestoreOptions(
            replace=replace,
            disconnect=disconnect,
            jobs=jobs,
            identity=identity,
            programs=deployment.settings.pg_bin,
            owners=not no_owner,
            privileges=not no_privileges,
            overridden=tuple(override_protection or ()),
        )
        return await action(deployment, manifest, wanted, confirm_replace(accepted), call.notify())

    about = "What `downgrade --keep` has kept in side tables: list, restore, drop."
    kept = group(app, "kept", about, _PANEL)

    @command(kept, "list", panel=_PANEL)
    async def kept_list(
        call: CommandContext,
        everything: Annotated[bool, typer.Option("--all", help="Also what was restored or dropped.")] = False,
    ) -> Result:
        """List what is kept: of which table, how many rows, by which run."""
        from circle_migrate.commands.kept import listing

        return await listing(await call.ready(call.deployment()), everything=everything)

    @command(kept, "restore", panel=_PANEL, running=_KEPT_RUNNING)
    async def kept_restore(call: CommandContext, names: _Names) -> Result:
        """Put back now what an upgrade has left, or rows whose row was missing."""
        from circle_migrate.commands.kept import restore

        return await restore(await call.ready(call.deployment()), names, notify=call.notify())

    @command(kept, "drop", panel=_PANEL, running=_KEPT_RUNNING)
    async def kept_drop(
        call: CommandContext, names: _Names, yes: Yes = False, override_protection: Overridden = None
    ) -> Result:
        """Drop what is kept, for good. Shows it and asks first."""
        from circle_migrate.cli.confirm import confirm_drop
        from circle_migrate.commands.kept import drop

        deployment = await call.ready(call.deployment())
        return await drop(
            deployment,
            names,
            agree=confirm_drop(yes=yes),
            overridden=override_protection or (),
            notify=call.notify(),
        )
