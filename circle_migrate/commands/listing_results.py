"""Results that show something: revisions, settings, the embedded server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from circle_migrate.core.errors import ExitCode, MigrateError
from circle_migrate.core.result import Result, worst
from circle_migrate.revision_graph.revision import Revision


@dataclass(frozen=True, slots=True)
class DatabasePosition:
    """Where one database stands; `error` says why that could not be asked."""

    database: str
    current: tuple[Revision, ...] = ()
    heads: tuple[str, ...] = ()
    pending: int = 0
    address: str = ""
    error: MigrateError | None = None


@dataclass(frozen=True, slots=True)
class CurrentResult(Result):
    """The current revisions of each database: `current`."""

    standings: tuple[DatabasePosition, ...]

    @property
    def exit_code(self) -> ExitCode:
        """The worst reason for which a database could not be asked."""
        return worst(
            [
                database_position.error.status
                for database_position in self.standings
                if database_position.error is not None
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """One object per database."""
        return {
            "databases": {
                database_position.database: {
                    "current": [revision.id for revision in database_position.current],
                    "heads": list(database_position.heads),
                    "pending": database_position.pending,
                    "error": database_position.error.to_dict() if database_position.error else None,
                }
                for database_position in self.standings
            }
        }


@dataclass(frozen=True, slots=True)
class ListedRevision:
    """A revision in a listing; `marks` are words such as `head`, `current`, `branch point`."""

    revision: Revision
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RevisionList(Result):
    """Revisions of the trees: `history`, `heads`, `branches` and `show`."""

    listed: Mapping[str, tuple[ListedRevision, ...]]
    errors: tuple[MigrateError, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """Done, or the worst reason for which a current revision could not be shown."""
        return worst([error.status for error in self.errors])

    def to_dict(self) -> dict[str, Any]:
        """The revisions by database, in the order in which they are listed."""
        return {
            "databases": {
                name: [
                    listed_revision.revision.to_dict() | {"marks": list(listed_revision.marks)}
                    for listed_revision in listed
                ]
                for name, listed in self.listed.items()
            },
            "errors": [error.to_dict() for error in self.errors],
        }


@dataclass(frozen=True, slots=True)
class ConfigurationResult(Result):
    """The settings that hold and where each came from: `config show`. Values are redacted already."""

    values: tuple[tuple[str, str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """One object per setting."""
        return {
            "settings": [{"key": key, "value": value, "source": source} for key, value, source in self.values]
        }


@dataclass(frozen=True, slots=True)
class ServerResult(Result):
    """The embedded server: `dev start`, `dev stop`, `dev status` and `dev reset`."""

    facts: Mapping[str, str | int | bool | None]
    urls: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What is known of the server, and the URLs of the databases on it."""
        return dict(self.facts) | {"urls": dict(self.urls)}


@dataclass(frozen=True, slots=True)
class SchemaResult(Result):
    """The JSON Schema of a command's output: `schema`."""

    schema: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The schema."""
        return {"schema": dict(self.schema)}
