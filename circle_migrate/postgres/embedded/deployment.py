"""Databases of a deployment on the embedded server."""

from circle_migrate.config.settings import Settings
from circle_migrate.config.url.parse import parse
from circle_migrate.postgres.embedded.server import EmbeddedServer, ServerStatus


def database_name(name: str) -> str:
    """Return the name of a database on the embedded server."""
    return f"circle_{name}"


def configured_server(settings: Settings) -> EmbeddedServer:
    """Return the server of the folder `embedded_data`."""
    return EmbeddedServer(settings.embedded_data)


def with_embedded_urls(settings: Settings, status: ServerStatus) -> Settings:
    """Return the settings with the URLs of the running embedded server."""
    databases = []
    for database in settings.databases:
        url = parse(status.url(database_name(database.name)), source="the embedded server")
        databases.append(database._replace(url=url))
    return settings._replace(databases=tuple(databases))


def urls(settings: Settings, status: ServerStatus) -> dict[str, str]:
    """Return the URLs by environment variable; empty if the server is not running."""
    databases = settings.databases if status.running else ()
    return {database.url_variable: status.url(database_name(database.name)) for database in databases}
