"""A backup right before a run that destroys data: whether there is one, and how to go back to it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.backup import manifest_file
from circle_migrate.backup.manifest import BackedUp
from circle_migrate.commands.backup import Keeping, backup, dumping
from circle_migrate.core.errors import CircleError, SettingsError
from circle_migrate.migrate.result import WayBack
from circle_migrate.migrate.run import Hooks, Run
from circle_migrate.postgres.deployment import Deployment

if TYPE_CHECKING:
    from circle_migrate.postgres.database import State
    from circle_migrate.revision_graph.plan import Plan

FOLDER = Path("backups")
"""Where backups go where nothing else is asked for: in the current directory, as `backup` has it."""


class When(StrEnum):
    """When there is a backup: always, where data is lost and pg_dump is there, or never."""

    ALWAYS = "always"
    ON_LOSS = "on loss"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a backup is made (`keeping`), in a sentence for people, and the reason where there is none."""

    keeping: Keeping | None = None
    sentence: str = ""
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Backing:
    """What was asked for: when there is a backup, and where it goes."""

    when: When = When.NEVER
    keeping: Keeping = field(default_factory=lambda: Keeping(FOLDER.absolute()))

    def require(self, deployment: Deployment, states: Mapping[str, State]) -> None:
        """Raise `SettingsError` where a backup is asked for by name and there is no pg_dump for it."""
        if self.when is When.ALWAYS:
            dumping(_all_of(deployment, states), states, self.keeping)

    def decide(self, deployment: Deployment, states: Mapping[str, State], *, lossy: bool) -> Decision:
        """Whether there is a backup of the databases with these states.

        Raises `SettingsError` where the programs are not where they were said to be.
        """
        if self.when is When.NEVER:
            return Decision(why_not="--no-backup", sentence="no backup is made") if lossy else Decision()
        if self.when is When.ON_LOSS and not lossy:
            return Decision()
        try:
            dumping(_all_of(deployment, states), states, self.keeping)
        except SettingsError as error:
            if self.when is When.ALWAYS or self.keeping.programs or self.keeping.encrypt_to:
                raise
            return Decision(sentence=f"no backup is made: {error.message}", why_not=error.message)
        names = " and ".join(states)
        return Decision(
            self.keeping, f"a backup of {names} goes to {self.keeping.folder} before anything runs"
        )


class BackupHooks(Hooks):
    """Makes the backup under the deployer locks of the run, so that no other deployer comes in between.

    Where it is, is put into the `notes` of the run.
    """

    def __init__(self, keeping: Keeping, notes: dict[str, object]) -> None:
        self.way_back: WayBack | None = None
        self._keeping = keeping
        self._notes = notes

    async def prepared(self, run: Run, plan: Plan) -> None:  # noqa: ARG002 - as declared
        """Dump every database of the run. Raises what `backup` raises; nothing has run then."""
        deployment = _all_of(run.deployment, run.sessions)
        try:
            made = await backup(deployment, self._keeping, locked=True, notify=run.notify)
        except CircleError as error:
            error.state = "there is no backup; nothing was changed"
            error.hint = "; ".join(filter(None, (error.hint, "--no-backup goes on without any")))
            raise
        self.way_back = _way_back(deployment, made)
        self._notes["backup"] = self.way_back.to_dict()


def _all_of(deployment: Deployment, names: Mapping[str, object]) -> Deployment:
    """The deployment of just these databases: one, or all."""
    return Deployment(deployment.settings, next(iter(names)) if len(names) == 1 else None)


def _way_back(deployment: Deployment, made: BackedUp) -> WayBack:
    path = Path(made.folder) / manifest_file.NAME
    words = ["circle-migrate", "restore", str(path), "--replace"]
    if len(deployment.selected) < len(deployment.databases):
        words += ["--database", *deployment.selected]
    if deployment.settings.embedded:
        words.append("--embedded")
    if any(dump.encrypted for dump in made.manifest.dumps):
        words += ["--identity", "KEYFILE"]
    return WayBack(made.manifest.id, str(path), shlex.join(words), made.notes)
