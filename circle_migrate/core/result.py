"""Base of the results of commands, from which tables and JSON are made."""

from dataclasses import dataclass
from typing import Any

from circle_migrate.core.errors import ExitCode

SCHEMA_VERSION = 1
"""Incremented when a key of the JSON output is removed or changes its meaning."""


def worst_exit_code(codes: list[ExitCode]) -> ExitCode:
    """Return the most severe exit code; DONE for an empty list."""
    return min(codes, key=list(ExitCode).index, default=ExitCode.DONE)


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
