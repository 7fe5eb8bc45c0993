"""Backups and restores as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.backup.manifest import BackupResult, RestoreResult
from circle_migrate.cli.render.widgets import relative, revisions, table, write_line
from circle_migrate.core.byte_size import format_bytes

if TYPE_CHECKING:
    from rich.console import Console


def backup_result(result: BackupResult, console: Console) -> None:
    """Write a row per dump, where they are, and what is to be known."""
    table(
        console,
        ("database", "file", "size", "revision", "PostgreSQL", "pg_dump", "moment"),
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
        write_line(console, f"one moment: at most {result.manifest.apart:.1f} ms apart")
    for note in result.notes:
        write_line(console, f"note: {note}")
    write_line(console, f"complete and verified: {relative(result.folder)}", style="green")


def restore_result(result: RestoreResult, console: Console) -> None:
    """Write where each database is now, and what became of the old ones."""
    for name, heads in result.current.items():
        write_line(console, f"{name}: restored, at {revisions(heads)}", style="green")
    for note in result.notes:
        write_line(console, f"note: {note}")
