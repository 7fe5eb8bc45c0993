"""The two databases that exist, in the order in which they are migrated; their names stand only here."""

from __future__ import annotations

from typing import NamedTuple


class KnownDatabase(NamedTuple):
    """What is fixed about a database, and what its settings are called.

    `profile` is how its differences are judged where the settings do not say.
    """

    name: str
    url_variable: str
    revisions: str
    models: str
    profile: str

    @property
    def url_field(self) -> str:
        """The URL's name among the settings."""
        return self.url_variable.lower()


DATABASES = (
    KnownDatabase(
        name="main",
        url_variable="DATABASE_URL",
        revisions="circle_migrate:revisions/main",
        models="circle_migrate.models.main:metadata",
        profile="default",
    ),
    KnownDatabase(
        name="credentials",
        url_variable="CREDS_DATABASE_URL",
        revisions="circle_migrate:revisions/credentials",
        models="circle_migrate.models.credentials:metadata",
        profile="strict",
    ),
)
