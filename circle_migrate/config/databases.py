"""The two databases, in the order in which they are migrated; no other module names them."""

from __future__ import annotations

from typing import NamedTuple


class KnownDatabase(NamedTuple):
    """A database's name and the defaults of its settings."""

    name: str
    url_variable: str
    revisions: str
    models: str
    profile: str

    @property
    def url_field(self) -> str:
        """The field name of the URL."""
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
