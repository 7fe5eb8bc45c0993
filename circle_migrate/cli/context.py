"""One call of a command: its shared options, its settings and its databases."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from circle_migrate.cli.event_log import EventLog
from circle_migrate.cli.options import Format
from circle_migrate.cli.reports import ReportFiles

if TYPE_CHECKING:
    from circle_migrate.cli.progress import Progress
    from circle_migrate.config.settings import Settings
    from circle_migrate.postgres.deployment import Current, Deployment


class CommandContext(NamedTuple):
    """One call of a command.

    `database` has the values of --database, `flags` are the options that override settings, by name, None
    if not given. `progress` is called with the events of a run.
    """

    command: str
    database: list[str] | None
    flags: dict[str, object]
    format: Format
    progress: Progress
    debug: bool
    verbose: bool = False
    reports: ReportFiles = ReportFiles()
    events: EventLog = EventLog()

    @property
    def formats(self) -> set[str]:
        """The formats in which the result is written, to stdout and to files."""
        return {self.format, *self.reports.formats}

    def settings(self, *, notes: bool = False) -> Settings:
        """Load the settings and print warnings, with `notes` or --debug notes too. Raises `SettingsError`."""
        from circle_migrate.config.load import load

        settings = load(self.flags, hazard_ids=_hazard_ids)
        for warning in settings.warnings:
            self.progress.warn(f"warning: {warning}")
        if notes or self.debug:
            for note in settings.notes:
                self.progress.say(note)
        return settings

    def deployment(self) -> Deployment:
        """Return the databases; starts the embedded server where the settings ask for it."""
        from circle_migrate.postgres.deployment import Deployment

        settings = self.settings()
        if settings.env and self.command not in ("status", "plan"):  # their result names it
            self.progress.say(f"environment: {settings.env}")
        if settings.embedded:
            from circle_migrate.postgres.embedded.server import EmbeddedServer, with_embedded_urls

            settings = with_embedded_urls(settings, EmbeddedServer(settings.embedded_data).start())
        return Deployment(settings, self.database)

    async def ready(self) -> Deployment:
        """Return the databases; creates those that are missing on the embedded server."""
        deployment = self.deployment()
        if deployment.settings.embedded:
            from circle_migrate.postgres.create_database import create_missing

            await create_missing(deployment)
        return deployment

    async def trees(self, *, with_current: bool) -> tuple[Deployment, Current | None]:
        """Return the databases and their current revisions, or without these the revision trees alone."""
        if not with_current:
            return self.files(), None
        from circle_migrate.migrate.guards import verify_identity

        deployment = await self.ready()
        return deployment, verify_identity(deployment, await deployment.states())

    def files(self) -> Deployment:
        """Return the revision trees alone: needs no URL and starts no server."""
        from circle_migrate.postgres.deployment import Deployment

        return Deployment(self.settings(), self.database)


def _hazard_ids() -> Collection[str]:
    from circle_migrate.safety.hazards.hazard import HAZARDS

    return HAZARDS
