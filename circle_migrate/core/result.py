"""Base of the results of commands, from which tables and JSON are made."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from circle_migrate.core.errors import ExitCode

SCHEMA_VERSION = 1
"""Incremented when a key of the JSON output is removed or changes its meaning."""


def worst_exit_code(codes: list[ExitCode]) -> ExitCode:
    """Return the most severe exit code; DONE for an empty list."""
    return min(codes, key=list(ExitCode).index, default=ExitCode.DONE)


def json_fields(record: object, names: str) -> dict[str, Any]:
    """Return attributes for JSON by their names, which blanks separate; times are in ISO 8601."""
    return {name: _json_value(getattr(record, name)) for name in names.split()}


def _json_value(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return json_fields(value, " ".join(field.name for field in fields(value)))
    if isinstance(value, Mapping):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Enum) else value


@dataclass(frozen=True, slots=True)
class Result:
    """Base of all results; `command` is the name of the command in the JSON output."""

    command: str

    @property
    def exit_code(self) -> ExitCode:
        """The exit status of the process."""
        return ExitCode.DONE

    def to_dict(self) -> dict[str, Any]:
        """Return the command's own keys of the JSON output."""
        raise NotImplementedError
