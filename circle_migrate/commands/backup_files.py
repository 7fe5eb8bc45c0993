"""`backup list`, `backup verify` and `backup prune`: what is in a folder of backups."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from circle_migrate.backup.dump import decrypt_command, ensure_readable
from circle_migrate.backup.manifest import MANIFEST, BackupResult, Dump, read_manifest, verify_dump
from circle_migrate.backup.pg_programs import find
from circle_migrate.commands.backup import UNFINISHED
from circle_migrate.core.errors import BackupFailed, BrokenBackup, ExitCode, MigrateError, UsageError
from circle_migrate.core.result import Result, json_fields
from circle_migrate.postgres.deployment import Deployment


@dataclass(frozen=True, slots=True)
class BackupEntry:
    """A folder with a backup: `problem` says what is wrong with its files, if anything.

    `created_at` is None where the manifest cannot be read. `removed` is whether `prune` removes it.
    """

    folder: str
    created_at: datetime | None = None
    dumps: tuple[Dump, ...] = ()
    problem: str | None = None
    removed: bool = False

    @property
    def databases(self) -> tuple[str, ...]:
        """The databases that were dumped."""
        return tuple(dump.database for dump in self.dumps)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON."""
        return json_fields(self, "folder created_at dumps problem removed")


@dataclass(frozen=True, slots=True)
class BackupList(Result):
    """The backups in a folder, newest first, and its `unfinished` folders.

    On a `dry_run` of `prune` those that are `removed` are still there.
    """

    entries: tuple[BackupEntry, ...]
    unfinished: tuple[str, ...] = ()
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the backups and the unfinished folders."""
        return {"backups": json_fields(self, "entries")["entries"], **json_fields(self, "unfinished dry_run")}


@dataclass(frozen=True, slots=True)
class VerifiedBackup(BackupResult):
    """A backup whose files were compared with its manifest."""

    @property
    def exit_code(self) -> ExitCode:
        """REFUSED if a dump could not be restored for comparison."""
        return ExitCode.DONE if self.verified else ExitCode.REFUSED


def list_backups(folder: Path) -> BackupList:
    """Return the backups directly in the folder; checksums of dumps are not compared. Raises `UsageError`."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be read",
            detail=error.strerror,
            hint="to make a backup there: circle-migrate backup " + str(folder),
        ) from error
    entries = [_entry(path) for path in paths if _may_be_backup(path)]
    oldest = datetime.min.replace(tzinfo=UTC)
    entries.sort(key=lambda entry: entry.created_at or oldest, reverse=True)
    unfinished = tuple(str(path) for path in paths if path.name.endswith(UNFINISHED))
    return BackupList("backup list", tuple(entries), unfinished)


def _may_be_backup(path: Path) -> bool:
    try:
        return (path / MANIFEST).exists()
    except OSError:  # a folder of somebody else
        return True


def _entry(path: Path) -> BackupEntry:
    try:
        manifest, folder = read_manifest(path)
        created_at = datetime.fromisoformat(manifest.created_at).astimezone(UTC)
    except (MigrateError, ValueError) as error:
        return BackupEntry(
            str(path), problem=": ".join(filter(None, [str(error), getattr(error, "detail", "")]))
        )
    problem = None
    for dump in manifest.dumps:
        file = folder / dump.file
        if not file.is_file():
            problem = f"{dump.file} is missing"
        elif file.stat().st_size != dump.bytes:
            problem = f"{dump.file} has {file.stat().st_size:,} bytes instead of {dump.bytes:,}"
    return BackupEntry(str(path), created_at, manifest.dumps, problem)


async def verify_backup(deployment: Deployment, path: Path, identity: Path | None) -> VerifiedBackup:
    """Compare the files with the manifest, and restore the schemas into scratch databases.

    `identity` is the key for encrypted dumps. Raises `BrokenBackup`, and `UsageError` for what is no backup.
    """
    from circle_migrate.backup.verify import verify_schemas

    manifest, folder = read_manifest(path)
    programs = deployment.settings.pg_bin
    reasons: dict[str, str] = {}
    dumps = []
    for dump in manifest.dumps:
        await asyncio.to_thread(verify_dump, folder, dump)
        if dump.database not in deployment.databases:
            reasons[dump.database] = "the project has no such database"
        elif dump.encrypted and identity is None:
            reasons[dump.database] = "it is encrypted: give its key with --identity FILE"
        else:
            decryption = decrypt_command(identity) if dump.encrypted else []
            lister = find("pg_restore", dump.dump_major, programs)
            await ensure_readable(lister, folder / dump.file, dump.database, decryption)
            dumps.append((dump, folder / dump.file))
    try:
        reasons |= await verify_schemas(deployment, dumps, programs, identity)
    except BackupFailed as error:
        raise BrokenBackup(
            error.message, database=error.database, detail=error.detail, hint=error.hint
        ) from error
    notes = (f"{name}: not restored for comparison: {reason}" for name, reason in reasons.items())
    return VerifiedBackup("backup verify", manifest, str(folder), tuple(notes), verified=not reasons)


def prune(
    folder: Path,
    *,
    keep_last: int | None,
    keep_within: timedelta | None,
    dry_run: bool,
    confirm: Callable[[Sequence[BackupEntry]], None],
) -> BackupList:
    """Remove the backups that no rule keeps.

    `keep_last` keeps so many complete backups of each set of databases, `keep_within` those of this age. The
    newest complete backup of every database, and backups with a problem, always stay.
    Raises `NotConfirmed`, and `UsageError` for a folder that cannot be read or a file that cannot be removed.
    """
    listed = list_backups(folder)
    kept = {entry.folder for entry in _kept(listed.entries, keep_last, keep_within)}
    entries = tuple(replace(entry, removed=entry.folder not in kept) for entry in listed.entries)
    removed = [entry for entry in entries if entry.removed]
    if removed and not dry_run:
        confirm(removed)
        for entry in removed:
            _remove(entry)
    return BackupList("backup prune", entries, listed.unfinished, dry_run)


def _kept(
    entries: Sequence[BackupEntry], keep_last: int | None, keep_within: timedelta | None
) -> Iterable[BackupEntry]:
    counts: dict[tuple[str, ...], int] = {}
    seen: set[str] = set()
    now = datetime.now(UTC)
    for entry in entries:
        if entry.problem or entry.created_at is None:
            yield entry
            continue
        count = counts[entry.databases] = counts.get(entry.databases, 0) + 1
        is_newest = not seen.issuperset(entry.databases)
        seen.update(entry.databases)
        is_recent = keep_within is not None and now - entry.created_at <= keep_within
        if is_newest or is_recent or (keep_last is not None and count <= keep_last):
            yield entry


def _remove(entry: BackupEntry) -> None:
    """Remove the files of the manifest, the manifest first: without it a folder is no backup."""
    folder = Path(entry.folder)
    try:
        for name in (MANIFEST, *(dump.file for dump in entry.dumps)):
            (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise UsageError(
            f"the backup {folder} cannot be removed", detail=error.strerror, hint="remove its folder by hand"
        ) from error
