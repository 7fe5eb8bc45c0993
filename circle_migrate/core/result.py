"""What commands return. Tables and JSON are made from these values and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from circle_migrate.core.errors import ExitCode

SCHEMA_VERSION = 1
"""Changes when a key of the JSON output changes its meaning or goes."""

_WORST_FIRST = (
    ExitCode.TERMINATED,
    ExitCode.INTERRUPTED,
    ExitCode.HANGUP,
    ExitCode.BUG,
    ExitCode.USAGE,
    ExitCode.FAILED,
    ExitCode.IN_DOUBT,
    ExitCode.UNREACHABLE,
    ExitCode.AHEAD,
    ExitCode.REFUSED,
    ExitCode.LOCKED,
    ExitCode.DRIFT,
    ExitCode.PENDING,
    ExitCode.DONE,
)


def worst(codes: list[ExitCode]) -> ExitCode:
    """The exit code that decides where several states hold."""
    return min(codes, key=_WORST_FIRST.index, default=ExitCode.DONE)


@dataclass(frozen=True, slots=True)
class Result:
    """Base of all results; `command` is the name of the command in the JSON output."""

    command: str

    @property
    def exit_code(self) -> ExitCode:
        """What the process should end with."""
        return ExitCode.DONE

    def to_dict(self) -> dict[str, Any]:
        """The command's own keys of the JSON output."""
        raise NotImplementedError
