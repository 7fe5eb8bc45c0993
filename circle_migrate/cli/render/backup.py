"""Render backups, restores, kept rows, protections and accepted schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.widgets import relative, revisions, table, write_line, write_notes
from circle_migrate.core.byte_size import format_bytes
from circle_migrate.core.counted import counted

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.backup.manifest import BackupResult, RestoreResult
    from circle_migrate.commands.backup_files import BackupEntry, BackupList
    from circle_migrate.commands.drift import AcceptedDrift
    from circle_migrate.commands.protect import ProtectionResult
    from circle_migrate.migrate.kept_data.registry import KeptEntries, KeptEntry


def backup_result(result: BackupResult, console: Console) -> None:
    """Write a row per dump, the notes, and the folder."""
    table(
        console,
        ("database", "file", "size", "revision", "PostgreSQL", "pg_dump", "snapshot"),
        [
            (
                dump.database,
                dump.file,
                format_bytes(dump.bytes),
                revisions(dump.revisions),
                dump.server_version,
                dump.dump_version,
                dump.snapshot_at,
            )
            for dump in result.manifest.dumps
        ],
    )
    if len(result.manifest.dumps) > 1:
        write_line(console, f"the snapshots were taken within {result.manifest.spread_ms:.1f} ms")
    write_notes(console, result.notes)
    state, style = (
        ("complete and verified", "green") if result.verified else ("complete, not verified", "yellow")
    )
    write_line(console, f"{state}: {relative(result.folder)}", style=style)


def backup_list(result: BackupList, console: Console) -> None:
    """Write a row per backup, and the unfinished ones."""
    table(
        console,
        ("created at", "folder", "databases", "size", "state"),
        [
            (
                f"{entry.created_at:%Y-%m-%d %H:%M}" if entry.created_at else "?",
                relative(entry.folder),
                ", ".join(f"{dump.database} {revisions(dump.revisions)}" for dump in entry.dumps),
                format_bytes(sum(dump.bytes for dump in entry.dumps)),
                _backup_state(entry, dry_run=result.dry_run),
            )
            for entry in result.entries
        ],
    )
    if not result.entries:
        write_line(console, "no backups")
    write_notes(
        console, [f"{relative(folder)} did not complete, or is being made" for folder in result.unfinished]
    )


def _backup_state(entry: BackupEntry, *, dry_run: bool) -> str:
    if entry.removed:
        return "would be removed" if dry_run else "removed"
    return entry.problem or "complete"


def restore_result(result: RestoreResult, console: Console) -> None:
    """Write the revisions of each database, and the notes."""
    for name, heads in result.current.items():
        write_line(console, f"{name}: restored, at {revisions(heads)}", style="green")
    write_notes(console, result.notes)


def kept_entries(result: KeptEntries, console: Console) -> None:
    """Write a row per entry."""
    if not result.entries:
        write_line(console, "nothing is kept")
        return
    table(
        console,
        ("id", "run", "revision", "kind", "object", "columns", "rows", "kept at", "state"),
        [
            (
                entry.id,
                entry.run[:8],
                entry.revision,
                str(entry.kind),
                entry.name,
                ", ".join(entry.columns),
                f"{entry.rows:,}",
                f"{entry.created_at:%Y-%m-%d %H:%M}",
                _state(entry),
            )
            for entry in result.entries
        ],
    )


def _state(entry: KeptEntry) -> str:
    if entry.state == "restored" and entry.missing:
        return f"restored, except values of {entry.missing:,} deleted rows"
    return str(entry.state)


def protection_result(result: ProtectionResult, console: Console) -> None:
    """Write a line per database, and the run."""
    for name, protection in result.databases.items():
        if protection is None:
            write_line(console, f"{name}: not protected")
        else:
            write_line(console, f"{name}: protected {protection.description}", style="green")
    write_line(console, f"run {result.run[:8]}" if result.run else "nothing to change")


def accepted_drift(result: AcceptedDrift, console: Console) -> None:
    """Write the database with the number of differences, and the run."""
    count = len(result.differences)
    text = f"{counted(count, 'difference')} from the revisions" if count else "as it is"
    write_line(console, f"{result.database}: schema accepted, {text}", style="green")
    write_line(console, f"run {result.run[:8]}")
