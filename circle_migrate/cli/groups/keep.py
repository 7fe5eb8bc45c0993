"""The commands backup, restore, kept, protect, unprotect and accept-drift."""

import re
from datetime import timedelta
from functools import partial
from pathlib import Path

from circle_migrate.cli.command import Declarations, command, group
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import (
    DRY_RUN,
    ENCRYPT_TO,
    OVERRIDE_PROTECTION,
    SCRATCH,
    YES,
    argument,
    flag,
    option,
)
from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result

_PANEL = "Keep"
_BACKUP_OPTIONS = ("lock_wait", "events", "pg_bin")
_KEPT_OPTIONS = ("atomic", "lock_wait", "lock_timeout", "events")
_MARKER_OPTIONS = ("atomic", "lock_wait", "events")

_FOLDER = Path("backups")
_BACKUPS = argument("FOLDER", "The folder with the backups.", default=_FOLDER)
_BACKUP = argument("BACKUP", "The folder of the backup, or its manifest.", default=...)
_IDENTITY = option("FILE", "Decrypt dumps with this key of `age`.")
_NO_DATABASE = ("database", "url", "database_url", "creds_database_url", "embedded", "embedded_data")
_FILES_ONLY = (*_NO_DATABASE, "env", "no_progress", "quiet")
_AGES = {"h": "hours", "d": "days", "w": "weeks"}

_NAMES = argument(
    "RUN|ID",
    "Select these entries: the beginning of a run's id, or the id of one entry such as main/3.",
    default=...,
)


def register(app: Declarations) -> None:
    """Add the commands to the application."""

    _register_backup(app)

    @command(app, panel=_PANEL, options=_BACKUP_OPTIONS)
    async def restore(
        context: CommandContext,
        manifest: Path = argument("BACKUP", "Restore this backup: its folder, or its manifest.", default=...),
        replace: bool = flag("--replace", "Replace databases that are not empty."),
        accept_loss: list[str] | None = option(
            "NAME", "Replace this database without asking. Repeatable.", panel="Safety"
        ),
        disconnect: bool = flag("--disconnect", "End the sessions of the databases that are replaced."),
        jobs: int = option(
            "N",
            "Restore this many tables and indexes at a time; 1 uses one transaction.",
            "--jobs",
            "-j",
            default=1,
            min=1,
        ),
        identity: Path | None = _IDENTITY,
        no_owner: bool = flag("--no-owner", "Make the restoring role the owner of all objects."),
        no_privileges: bool = flag("--no-privileges", "Restore no privileges."),
        override_protection: list[str] | None = OVERRIDE_PROTECTION,
    ) -> Result:
        """Restore a backup into empty databases, or with --replace over databases with data.

        Examples:
            circle-migrate restore backups/20260301T120000Z-1f2e3d # into empty databases
            circle-migrate restore BACKUP --replace # ask, then keep the old databases
            circle-migrate restore BACKUP --replace -d main --accept-loss main
        """
        from circle_migrate.backup.dump import RestoreOptions
        from circle_migrate.cli.confirm import confirm_replace
        from circle_migrate.commands.restore import restore as action

        if (accept_loss or disconnect or override_protection) and not replace:
            raise UsageError(
                "--accept-loss, --disconnect and --override-protection need --replace",
                hint="add --replace, or leave them out",
            )
        deployment = await context.ready()
        accepted = accept_loss or []
        for name in accepted:
            deployment.settings.ensure_database(name)
        options = RestoreOptions(
            replace=replace,
            disconnect=disconnect,
            jobs=jobs,
            identity=identity,
            programs=deployment.settings.pg_bin,
            owners=not no_owner,
            privileges=not no_privileges,
            overridden=tuple(override_protection or ()),
        )
        confirm = partial(confirm_replace, accepted)
        return await action(deployment, manifest, options, confirm, context.progress)

    description = "List, restore and drop the rows that `downgrade --keep` has kept."
    kept = group(app, "kept", description, _PANEL)

    @command(kept, "list", panel=_PANEL)
    async def kept_list(
        context: CommandContext, everything: bool = flag("--all", "List restored and dropped entries too.")
    ) -> Result:
        """List the kept tables, columns and rows with their run."""
        from circle_migrate.commands.kept import list_kept

        return await list_kept(await context.ready(), everything=everything)

    @command(kept, "restore", panel=_PANEL, options=_KEPT_OPTIONS)
    async def kept_restore(context: CommandContext, names: list[str] = _NAMES) -> Result:
        """Restore kept rows that an upgrade has not restored."""
        from circle_migrate.commands.kept import restore

        return await restore(await context.ready(), names, notify=context.progress)

    @command(kept, "drop", panel=_PANEL, options=_KEPT_OPTIONS)
    async def kept_drop(
        context: CommandContext,
        names: list[str] = _NAMES,
        yes: bool = YES,
        override_protection: list[str] | None = OVERRIDE_PROTECTION,
    ) -> Result:
        """Drop kept rows for good. Shows them and asks first."""
        from circle_migrate.cli.confirm import confirm_drop
        from circle_migrate.commands.kept import drop

        return await drop(
            await context.ready(),
            names,
            confirm=partial(confirm_drop, yes=yes),
            overridden=override_protection or (),
            notify=context.progress,
        )

    _register_states(app)


def _register_states(app: Declarations) -> None:
    """Add the commands that record what people have decided about a database."""

    @command(app, panel=_PANEL, options=_MARKER_OPTIONS)
    async def protect(
        context: CommandContext, reason: str | None = option("TEXT", "Show this reason in every refusal.")
    ) -> Result:
        """Mark databases as protected: downgrades, stamps and replacing restores are refused.

        Examples:
            circle-migrate protect --reason "live since March, ask the platform team"
        """
        from circle_migrate.commands.protect import protect as action

        _ensure_line(reason)
        return await action(await context.ready(), reason, context.progress)

    @command(app, panel=_PANEL, options=_MARKER_OPTIONS)
    async def unprotect(
        context: CommandContext, override_protection: list[str] | None = OVERRIDE_PROTECTION
    ) -> Result:
        """Remove the protection of one database. Give --database, and type its name to confirm.

        Examples:
            circle-migrate unprotect --database main
        """
        from circle_migrate.cli.confirm import confirm_unprotect
        from circle_migrate.commands.protect import unprotect as action

        names = set(context.database or ())
        if len(names) != 1:
            raise UsageError("unprotect takes one database at a time", hint="give one --database NAME")
        overridden = override_protection or []
        if not names.issuperset(overridden):
            (name,) = names
            raise UsageError(
                f"--database names {name}, --override-protection another database",
                hint=f"--override-protection {name}, or leave it out and type the name",
            )
        return await action(await context.ready(), partial(confirm_unprotect, overridden), context.progress)

    @command(app, "accept-drift", panel=_PANEL, options=("lock_wait", *SCRATCH))
    async def accept_drift(
        context: CommandContext,
        reason: str | None = option("TEXT", "Record this reason in the journal."),
        yes: bool = YES,
    ) -> Result:
        """Accept the schema of one database, which was changed by hand. Give --database.

        Shows the differences from the revisions and asks first. The journal records them with the user.

        Examples:
            circle-migrate accept-drift -d main --reason "index of the incident in May"
        """
        from circle_migrate.cli.confirm import confirm_drift
        from circle_migrate.commands.drift import accept_drift as action

        _ensure_line(reason)
        if len(set(context.database or ())) != 1:
            raise UsageError("accept-drift takes one database at a time", hint="give one --database NAME")
        return await action(await context.ready(), partial(confirm_drift, yes=yes), reason, context.progress)


def _register_backup(app: Declarations) -> None:
    description = "Dump the databases; list, verify and remove backups."
    backups = group(app, "backup", description, _PANEL, default="create")

    @command(backups, "create", panel=_PANEL, options=_BACKUP_OPTIONS, full_name="backup")
    async def backup(
        context: CommandContext,
        folder: Path = argument("FOLDER", "Create the backup's folder in this one.", default=_FOLDER),
        encrypt_to: str | None = ENCRYPT_TO,
    ) -> Result:
        """Dump all databases at one point in time, with a manifest; `backup` alone does this.

        Examples:
            circle-migrate backup # to a new folder in backups/
            circle-migrate backup /srv/backups --encrypt-to age1… # credentials encrypted
        """
        from circle_migrate.commands.backup import BackupOptions
        from circle_migrate.commands.backup import backup as action

        deployment = await context.ready()
        parent = folder.absolute()  # noqa: ASYNC240 - touches no disk
        options = BackupOptions(parent, deployment.settings.pg_bin, encrypt_to)
        return await action(deployment, options, notify=context.progress)

    @command(backups, "list", panel=_PANEL, without=_FILES_ONLY)
    def backup_list(_context: CommandContext, folder: Path = _BACKUPS) -> Result:
        """List the backups in a folder, newest first, with what is wrong with their files."""
        from circle_migrate.commands.backup_files import list_backups

        return list_backups(folder)

    @command(backups, "verify", panel=_PANEL, options=("pg_bin", *SCRATCH[:2]), without=_NO_DATABASE)
    async def backup_verify(
        context: CommandContext, backup: Path = _BACKUP, identity: Path | None = _IDENTITY
    ) -> Result:
        """Check that a backup can be restored. Exit status 5 if it cannot, or if that is not known.

        Compares its files with the manifest, and restores the schemas into scratch databases.

        Examples:
            circle-migrate backup verify backups/20260301T120000Z-1f2e3d
            circle-migrate backup verify BACKUP --identity key.txt # encrypted
        """
        from circle_migrate.commands.backup_files import verify_backup

        return await verify_backup(context.files(), backup, identity)

    @command(backups, "prune", panel=_PANEL, without=_FILES_ONLY)
    def backup_prune(
        _context: CommandContext,
        folder: Path = _BACKUPS,
        keep_last: int | None = option("N", "Keep this many backups of the same databases.", min=1),
        keep_within: str | None = option("AGE", "Keep backups that are not older: 36h, 30d, 8w."),
        dry_run: bool = DRY_RUN,
        yes: bool = YES,
    ) -> Result:
        """Remove old backups that neither --keep-last nor --keep-within keeps. Shows them and asks first.

        The newest complete backup of each database, and backups with a problem, always stay.

        Examples:
            circle-migrate backup prune --keep-last 7 --dry-run
            circle-migrate backup prune /srv/backups --keep-last 7 --keep-within 30d --yes
        """
        from circle_migrate.cli.confirm import confirm_prune
        from circle_migrate.commands.backup_files import prune

        if keep_last is None and keep_within is None:
            raise UsageError("prune needs a rule", hint="add --keep-last N or --keep-within AGE")
        return prune(
            folder,
            keep_last=keep_last,
            keep_within=None if keep_within is None else _parse_age(keep_within),
            dry_run=dry_run,
            confirm=partial(confirm_prune, yes=yes),
        )


def _parse_age(text: str) -> timedelta:
    """Return the time of "36h", "30d" or "8w". Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if not match:
        raise UsageError(f"--keep-within {text} is no age", hint="write hours, days or weeks: 36h, 30d, 8w")
    return timedelta(**{_AGES[match[2]]: int(match[1])})


def _ensure_line(reason: str | None) -> None:
    """Raise `UsageError` for a reason that is not a line of text."""
    if reason is not None and not (reason.strip() and reason.isprintable()):
        raise UsageError("the reason is not a line of text", hint="give a reason, or leave out --reason")
