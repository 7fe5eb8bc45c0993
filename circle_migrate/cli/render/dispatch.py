"""Find the module that renders a result; a command imports only that one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.core.result import Result


_RENDERERS = {
    "MigrationResult": ("run", "migration_result"),
    "PlanResult": ("run", "plan_result"),
    "ScriptResult": ("run", "write_text"),
    "RecoverResult": ("run", "recover_result"),
    "LogResult": ("run", "log_result"),
    "SourceResult": ("run", "write_text"),
    "CurrentResult": ("listing", "current_result"),
    "RevisionList": ("listing", "revision_list"),
    "RevisionFilesResult": ("listing", "revision_files_result"),
    "ConfigurationResult": ("listing", "configuration_result"),
    "ServerResult": ("listing", "server_result"),
    "SchemaResult": ("listing", "schema_result"),
    "DiagramResult": ("listing", "diagram_result"),
    "DiffResult": ("diff", "diff_result"),
    "SnapshotResult": ("diff", "snapshot_result"),
    "Report": ("report", "report"),
    "StatusResult": ("listing", "status_result"),
    "StatsResult": ("safety", "stats_result"),
    "ConsistencyResult": ("report", "consistency_result"),
    "SafetyReport": ("safety", "safety_report"),
    "HazardList": ("safety", "hazard_list"),
    "LossReport": ("losses", "loss_report"),
    "BackupResult": ("backup", "backup_result"),
    "RestoreResult": ("backup", "restore_result"),
    "KeptEntries": ("backup", "kept_entries"),
    "ProtectionResult": ("backup", "protection_result"),
}
"""The module and the function that render a result, by the name of its class."""


def render(result: Result, console: Console) -> None:
    """Write a result to the console."""
    for result_class in type(result).__mro__:
        if result_class.__name__ in _RENDERERS:
            module, function = _RENDERERS[result_class.__name__]
            getattr(import_module(f"circle_migrate.cli.render.{module}"), function)(result, console)
            return
    raise NotImplementedError(type(result).__name__)
