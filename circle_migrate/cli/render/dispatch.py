"""Find the module that renders a result; a command imports only that one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.core.result import Result


_MODULES = {
    "run": ("Moved", "Planned", "Script", "Recovered", "Log", "Source"),
    "listing": ("Currents", "Listing", "Written", "Configuration", "Server", "Schema", "Drawn"),
    "diff": ("Diff",),
    "snapshot": ("Taken",),
    "report": ("Report",),
    "status": ("Status",),
    "stats": ("Measured",),
    "consistency": ("Consistency",),
    "safety": ("Safety", "Catalogued"),
    "losses": ("LossReport",),
    "backup": ("BackedUp", "Restored"),
    "kept": ("KeptEntries",),
    "protect": ("Protections",),
}
"""The modules that draw results and which; each has a function with the result's name in lower case.

By name, so that a command loads only what draws its own result.
"""


def render(result: Result, console: Console) -> None:
    """Write a result to the console."""
    for kind in type(result).__mro__:
        for module, names in _MODULES.items():
            if kind.__name__ in names:
                draw = getattr(import_module(f"circle_migrate.cli.render.{module}"), kind.__name__.lower())
                draw(result, console)
                return
    raise NotImplementedError(type(result).__name__)
