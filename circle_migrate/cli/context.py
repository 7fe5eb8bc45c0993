"""One call of a command: its options and its way to the settings and the databases."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from circle_migrate.cli.output_format import Format

if TYPE_CHECKING:
    from circle_migrate.cli.progress import Progress
    from circle_migrate.config.settings import Settings
    from circle_migrate.core.events import Notify
    from circle_migrate.postgres.deployment import Deployment


class CommandContext(NamedTuple):
    """One call of a command with the options every command has."""

    command: str
    database: str | None
    flags: dict[str, object]
    format: Format
    progress: Progress
    debug: bool

    def settings(self, *, notes: bool = False) -> Settings:
        """The settings that hold; `notes` are said, too. Raises `SettingsError` with every problem."""
        from circle_migrate.config.load import load

        settings = load(self.flags, hazard_ids=_hazard_ids)
        for warning in settings.warnings:
            self.progress.warn(f"warning: {warning}")
        if notes or self.debug:
            for note in settings.notes:
                self.say(note)
        return settings

    def deployment(self) -> Deployment:
        """The databases, on the embedded server where the settings ask for it; that one is started."""
        from circle_migrate.postgres.deployment import Deployment

        settings = self.settings()
        if not settings.embedded:
            return Deployment(settings, self.database)
        from circle_migrate.postgres.embedded.deployment import addressed, server

        return Deployment(addressed(settings, server(settings).start()), self.database)

    def files(self) -> Deployment:
        """The trees alone: no URL is needed and no server started."""
        from circle_migrate.postgres.deployment import Deployment

        return Deployment(self.settings(), self.database)

    async def ready(self, deployment: Deployment) -> Deployment:
        """The deployment with the databases of the embedded server made where they are missing."""
        if deployment.settings.embedded:
            from circle_migrate.postgres.create_database import create_missing

            await create_missing(deployment)
        return deployment

    def say(self, text: str) -> None:
        """A line of progress."""
        self.progress.say(text)

    def notify(self) -> Notify:
        """Where a run tells about itself."""
        return self.progress


def _hazard_ids() -> Collection[str]:
    from circle_migrate.safety.hazards.loader import HAZARDS

    return HAZARDS
