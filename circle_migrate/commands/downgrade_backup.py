"""A backup right before a run that destroys data: whether there is one, and how to go back to it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.backup import manifest_file
from circle_migrate.backup.manifest import BackupResult
from circle_migrate.commands.backup import BackupOptions, backup, plan_dumps
from circle_migrate.core.errors import MigrateError, SettingsError
from circle_migrate.migrate.result import RestoreInstructions
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.deployment import Deployment

if TYPE_CHECKING:
    from circle_migrate.postgres.database import State
    from circle_migrate.revision_graph.plan import Plan

FOLDER = Path("backups")
"""Where backups go where nothing else is asked for: in the current directory, as `backup` has it."""


class BackupWhen(StrEnum):
    """When there is a backup: always, where data is lost and pg_dump is there, or never."""

    ALWAYS = "always"
    ON_LOSS = "on loss"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class BackupDecision:
    """Whether a backup is made (`keeping`), in a sentence for people, and the reason where there is none."""

    keeping: BackupOptions | None = None
    explanation: str = ""
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class BackupPolicy:
    """What was asked for: when there is a backup, and where it goes."""

    when: BackupWhen = BackupWhen.NEVER
    keeping: BackupOptions = field(default_factory=lambda: BackupOptions(FOLDER.absolute()))

    def require(self, deployment: Deployment, states: Mapping[str, State]) -> None:
        """Raise `SettingsError` where a backup is asked for by name and there is no pg_dump for it."""
        if self.when is BackupWhen.ALWAYS:
            plan_dumps(_restrict_to(deployment, states), states, self.keeping)

    def decide(self, deployment: Deployment, states: Mapping[str, State], *, lossy: bool) -> BackupDecision:
        """Whether there is a backup of the databases with these states.

        Raises `SettingsError` where the programs are not where they were said to be.
        """
        if self.when is BackupWhen.NEVER:
            return (
                BackupDecision(why_not="--no-backup", explanation="no backup is made")
                if lossy
                else BackupDecision()
            )
        if self.when is BackupWhen.ON_LOSS and not lossy:
            return BackupDecision()
        try:
            plan_dumps(_restrict_to(deployment, states), states, self.keeping)
        except SettingsError as error:
            if self.when is BackupWhen.ALWAYS or self.keeping.programs or self.keeping.encrypt_to:
                raise
            return BackupDecision(explanation=f"no backup is made: {error.message}", why_not=error.message)
        names = " and ".join(states)
        return BackupDecision(
            self.keeping, f"a backup of {names} goes to {self.keeping.folder} before anything runs"
        )


class BackupHooks(Hooks):
    """Makes the backup under the deployer locks of the run, so that no other deployer comes in between.

    Where it is, is put into the `notes` of the run.
    """

    def __init__(self, keeping: BackupOptions, notes: dict[str, object]) -> None:
        self.way_back: RestoreInstructions | None = None
        self._keeping = keeping
        self._notes = notes

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:  # noqa: ARG002 - as declared
        """Dump every database of the run. Raises what `backup` raises; nothing has run then."""
        deployment = _restrict_to(run.deployment, run.sessions)
        try:
            made = await backup(deployment, self._keeping, locked=True, notify=run.notify)
        except MigrateError as error:
            error.state = "there is no backup; nothing was changed"
            error.hint = "; ".join(filter(None, (error.hint, "--no-backup goes on without any")))
            raise
        self.way_back = _restore_instructions(deployment, made)
        self._notes["backup"] = self.way_back.to_dict()


def _restrict_to(deployment: Deployment, names: Mapping[str, object]) -> Deployment:
    """The deployment of just these databases: one, or all."""
    return Deployment(deployment.settings, next(iter(names)) if len(names) == 1 else None)


def _restore_instructions(deployment: Deployment, made: BackupResult) -> RestoreInstructions:
    path = Path(made.folder) / manifest_file.NAME
    words = ["circle-migrate", "restore", str(path), "--replace"]
    if len(deployment.selected) < len(deployment.databases):
        words += ["--database", *deployment.selected]
    if deployment.settings.embedded:
        words.append("--embedded")
    if any(dump.encrypted for dump in made.manifest.dumps):
        words += ["--identity", "KEYFILE"]
    return RestoreInstructions(made.manifest.id, str(path), shlex.join(words), made.notes)
