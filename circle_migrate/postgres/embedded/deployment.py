"""The databases of a deployment on the embedded server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.config.databases import DATABASES
from circle_migrate.config.settings import Settings
from circle_migrate.config.url.parse import parse

if TYPE_CHECKING:
    from circle_migrate.postgres.embedded.server import EmbeddedServer, ServerStatus


def database_name(name: str) -> str:
    """The name of a database on the embedded server."""
    return f"circle_{name}"


def server(settings: Settings) -> EmbeddedServer:
    """The server whose data lies in the folder the settings name."""
    from circle_migrate.postgres.embedded.server import EmbeddedServer

    return EmbeddedServer(settings.embedded_data)


def addressed(settings: Settings, status: ServerStatus) -> Settings:
    """The settings with every database on the running embedded server."""
    databases = tuple(
        database_settings._replace(
            url=parse(status.url(database_name(database_settings.name)), source="the embedded server")
        )
        for database_settings in settings.databases
    )
    return settings._replace(databases=databases)


def urls(status: ServerStatus) -> dict[str, str]:
    """The URL of each database, by the environment variable that takes it; empty while the server is down."""
    if not status.running:
        return {}
    return {known.url_variable: status.url(database_name(known.name)) for known in DATABASES}
