"""Find the module that renders a result; a command imports only that one."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.core.result import Result

_RENDERERS = {
    "run": "MigrationResult PlanResult ScriptResult RecoverResult LogResult SourceResult LossReport",
    "listing": "CurrentResult RevisionList RevisionFilesResult ConfigurationResult ServerResult SchemaResult "
    "DiagramResult StatusResult",
    "diff": "DiffResult SnapshotResult",
    "report": "Report ConsistencyResult",
    "safety": "StatsResult SafetyReport HazardList",
    "backup": "BackupResult RestoreResult KeptEntries ProtectionResult",
}
"""The classes of results by the module with the function that renders them, which has their name."""


def render(result: Result, console: Console) -> None:
    """Write a result to the console."""
    modules = {name: module for module, names in _RENDERERS.items() for name in names.split()}
    name = next((base.__name__ for base in type(result).__mro__ if base.__name__ in modules), None)
    if name is None:
        raise NotImplementedError(type(result).__name__)
    function = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    getattr(import_module(f"circle_migrate.cli.render.{modules[name]}"), function)(result, console)
