"""The two databases that exist, in the order in which they are migrated; their names stand only here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownDatabase:
    """What is fixed about a database, and what its settings are called."""

    name: str
    url_variable: str
    url_flag: str
    revisions: str
    models: str

    @property
    def url_field(self) -> str:
        """The URL's name among the settings."""
        return self.url_variable.lower()


DATABASES = (
    KnownDatabase(
        name="main",
        url_variable="DATABASE_URL",
        url_flag="--database-url",
        revisions="circle_migrate:revisions/main",
        models="circle_migrate.models.main:metadata",
    ),
    KnownDatabase(
        name="credentials",
        url_variable="CREDS_DATABASE_URL",
        url_flag="--creds-database-url",
        revisions="circle_migrate:revisions/credentials",
        models="circle_migrate.models.credentials:metadata",
    ),
)
