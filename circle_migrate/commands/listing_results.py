"""Results of commands that show revisions, settings or the embedded server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from circle_migrate.core.errors import ExitCode, MigrateError
from circle_migrate.core.result import Result, worst_exit_code
from circle_migrate.revision_graph.revision import Revision


@dataclass(frozen=True, slots=True)
class DatabasePosition:
    """The current revisions of one database, or the error of reading them."""

    database: str
    current: tuple[Revision, ...] = ()
    heads: tuple[str, ...] = ()
    pending: int = 0
    address: str = ""
    error: MigrateError | None = None


@dataclass(frozen=True, slots=True)
class CurrentResult(Result):
    """The result of `current`: the current revisions of each database."""

    standings: tuple[DatabasePosition, ...]

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the worst error."""
        return worst_exit_code([position.error.status for position in self.standings if position.error])

    def to_dict(self) -> dict[str, Any]:
        """Return one object per database."""
        return {
            "databases": {
                position.database: {
                    "current": [revision.id for revision in position.current],
                    "heads": list(position.heads),
                    "pending": position.pending,
                    "error": position.error.to_dict() if position.error else None,
                }
                for position in self.standings
            }
        }


@dataclass(frozen=True, slots=True)
class ListedRevision:
    """A revision in a list; `marks` are words such as `head`, `current`, `branch point`.

    `doc` is the docstring of its file where the command shows it.
    """

    revision: Revision
    marks: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True, slots=True)
class RevisionList(Result):
    """The result of `history`, `heads`, `branches` and `show`: revisions of the trees."""

    listed: Mapping[str, tuple[ListedRevision, ...]]
    errors: tuple[MigrateError, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the worst error of reading current revisions."""
        return worst_exit_code([error.status for error in self.errors])

    def to_dict(self) -> dict[str, Any]:
        """Return the revisions by database, in the order of the list."""
        return {
            "databases": {
                name: [entry.revision.to_dict() | {"marks": list(entry.marks)} for entry in listed]
                for name, listed in self.listed.items()
            },
            "errors": [error.to_dict() for error in self.errors],
        }


@dataclass(frozen=True, slots=True)
class ConfigurationResult(Result):
    """The result of `config show`: the settings with their sources; values are redacted."""

    values: tuple[tuple[str, str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return one object per setting."""
        return {
            "settings": [{"key": key, "value": value, "source": source} for key, value, source in self.values]
        }


@dataclass(frozen=True, slots=True)
class ServerResult(Result):
    """The result of `dev start`, `dev stop`, `dev status` and `dev reset`: the embedded server."""

    facts: Mapping[str, str | int | bool | None]
    urls: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts about the server, and the URLs of its databases."""
        return dict(self.facts) | {"urls": dict(self.urls)}


@dataclass(frozen=True, slots=True)
class SchemaResult(Result):
    """The result of `schema`: the JSON Schema of a command's output."""

    schema: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the schema."""
        return {"schema": dict(self.schema)}
