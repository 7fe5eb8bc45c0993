"""What `protect` and `unprotect` did, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.widgets import write_line
from circle_migrate.commands.protect_result import ProtectionResult

if TYPE_CHECKING:
    from rich.console import Console


def protection_result(result: ProtectionResult, console: Console) -> None:
    """Write a line per database, and the run."""
    for name, protection in result.databases.items():
        if protection is None:
            write_line(console, f"{name}: not protected")
        else:
            write_line(console, f"{name}: protected {protection.description}", style="green")
    write_line(console, f"run {result.run[:8]}" if result.run else "nothing had to be changed")
