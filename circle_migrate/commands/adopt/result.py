"""The result of `adopt`: what each environment is turned into, point by point."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from circle_migrate.core.result import Result, json_fields


class State(StrEnum):
    """What becomes of one thing that Alembic's files say."""

    HOLDS = "holds"
    SET = "set"
    BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that Alembic's files say: what becomes of it, and the line that says it."""

    state: State
    subject: str
    text: str
    location: str | None = None


@dataclass(frozen=True, slots=True)
class AdoptedDatabase:
    """A database, the files that describe it, and its new settings.

    `exists` is whether pyproject.toml names it already.
    """

    name: str
    files: tuple[str, ...]
    settings: Mapping[str, Any]
    points: tuple[Point, ...]
    exists: bool = False


@dataclass(frozen=True, slots=True)
class AdoptResult(Result):
    """The databases, the points that concern all of them, and the change of `file` as a diff.

    `written` is whether the change was made. `commands` are to be typed next.
    """

    file: str
    databases: tuple[AdoptedDatabase, ...]
    settings: Mapping[str, Any]
    points: tuple[Point, ...]
    diff: str
    written: bool
    commands: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it."""
        return json_fields(self, "file written databases settings points diff commands")
