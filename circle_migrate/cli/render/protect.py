"""What `protect` and `unprotect` did, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.widgets import say
from circle_migrate.commands.protect_result import Protections

if TYPE_CHECKING:
    from rich.console import Console


def protections(result: Protections, console: Console) -> None:
    """Write a line per database, and the run."""
    for name, each in result.databases.items():
        if each is None:
            say(console, f"{name}: not protected")
        else:
            say(console, f"{name}: protected {each.words}", style="green")
    say(console, f"run {result.run[:8]}" if result.run else "nothing had to be changed")
