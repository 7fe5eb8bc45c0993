"""Back up the databases right before a downgrade that loses data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.backup.manifest import MANIFEST, BackupResult
from circle_migrate.commands.backup import BackupOptions, backup, plan_dumps
from circle_migrate.core.errors import MigrateError, SettingsError
from circle_migrate.migrate.result import RestoreInstructions
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.deployment import Deployment

if TYPE_CHECKING:
    from circle_migrate.postgres.database import State
    from circle_migrate.revision_graph.plan import Plan

DEFAULT_FOLDER = Path("backups")
"""The default folder of backups, relative to the current directory; the default of `backup`, too."""


class BackupWhen(StrEnum):
    """When to back up: always, never, or if data would be lost and pg_dump is installed."""

    ALWAYS = "always"
    ON_LOSS = "on loss"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class BackupDecision:
    """The options of the backup, None for no backup; a sentence for the user; the reason for no backup."""

    options: BackupOptions | None = None
    explanation: str = ""
    skip_reason: str = ""


@dataclass(frozen=True, slots=True)
class BackupPolicy:
    """When to back up, and the options of the backup."""

    when: BackupWhen = BackupWhen.NEVER
    options: BackupOptions = field(default_factory=lambda: BackupOptions(DEFAULT_FOLDER.absolute()))

    def require(self, deployment: Deployment, states: Mapping[str, State]) -> None:
        """Raise `SettingsError` if a backup is required and there is no suitable pg_dump."""
        if self.when is BackupWhen.ALWAYS:
            plan_dumps(_restrict_to(deployment, states), states, self.options)

    def decide(self, deployment: Deployment, states: Mapping[str, State], *, lossy: bool) -> BackupDecision:
        """Decide whether to back up the databases with these states.

        Raises `SettingsError` if a backup is required, or has options, and there is no suitable pg_dump.
        """
        if not lossy and self.when is not BackupWhen.ALWAYS:
            return BackupDecision()
        if self.when is BackupWhen.NEVER:
            return BackupDecision(explanation="no backup is made", skip_reason="--no-backup")
        try:
            plan_dumps(_restrict_to(deployment, states), states, self.options)
        except SettingsError as error:
            if self.when is BackupWhen.ALWAYS or self.options.programs or self.options.encrypt_to:
                raise
            return BackupDecision(
                explanation=f"no backup is made: {error.message}", skip_reason=error.message
            )
        names = " and ".join(states)
        return BackupDecision(
            self.options, f"a backup of {names} goes to {self.options.folder} before anything runs"
        )


class BackupHooks(Hooks):
    """Back up under the deployer locks of the run, and add the restore command to the `notes` of the run."""

    def __init__(self, options: BackupOptions, notes: dict[str, object]) -> None:
        self.restore_instructions: RestoreInstructions | None = None
        self._options = options
        self._notes = notes

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:  # noqa: ARG002 - as declared
        """Dump every database of the run. Raises the errors of `backup`."""
        deployment = _restrict_to(run.deployment, run.sessions)
        try:
            result = await backup(deployment, self._options, locked=True, notify=run.notify)
        except MigrateError as error:
            error.state = "there is no backup; nothing was changed"
            error.hint = "; ".join(filter(None, (error.hint, "to downgrade without a backup: --no-backup")))
            raise
        self.restore_instructions = _restore_instructions(deployment, result)
        self._notes["backup"] = self.restore_instructions.to_dict()


def _restrict_to(deployment: Deployment, names: Mapping[str, object]) -> Deployment:
    """Return the deployment of these databases, which are one or all."""
    return Deployment(deployment.settings, next(iter(names)) if len(names) == 1 else None)


def _restore_instructions(deployment: Deployment, result: BackupResult) -> RestoreInstructions:
    path = Path(result.folder) / MANIFEST
    argv = ["circle-migrate", "restore", str(path), "--replace"]
    if len(deployment.selected) < len(deployment.databases):
        argv += ["--database", *deployment.selected]
    if deployment.settings.embedded:
        argv.append("--embedded")
    if any(dump.encrypted for dump in result.manifest.dumps):
        argv += ["--identity", "KEYFILE"]
    return RestoreInstructions(result.manifest.id, str(path), shlex.join(argv), result.notes)
