"""Find the module that renders a result; a command imports only that one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.core.result import Result


_MODULES = {
    "runs": ("Moved", "Planned", "Script", "Recovered", "Log", "Source"),
    "listings": ("Currents", "Listing", "Written", "Configuration", "Server", "Schema", "Drawn"),
    "differences": ("Diff",),
    "snapshots": ("Taken",),
    "reports": ("Report",),
    "statuses": ("Status",),
    "measurements": ("Measured",),
    "relations": ("Consistency",),
    "safety": ("Safety", "Catalogued"),
    "losses": ("LossReport",),
    "backups": ("BackedUp", "Restored"),
    "kept": ("KeptEntries",),
    "protections": ("Protections",),
}
"""The modules that draw results and which; each has a function with the result's name in lower case.

By name, so that a command loads only what draws its own result.
"""


def render(result: Result, console: Console) -> None:
    """Write a result to the console."""
    for kind in type(result).__mro__:
        for module, names in _MODULES.items():
            if kind.__name__ in names:
                draw = getattr(import_module(f"circle_migrate.render.{module}"), kind.__name__.lower())
                draw(result, console)
                return
    raise NotImplementedError(type(result).__name__)
