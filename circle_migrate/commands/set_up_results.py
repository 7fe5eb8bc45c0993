"""Results of the commands that set up: `config show`, `schema` and `dev`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from circle_migrate.core.result import Result


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
