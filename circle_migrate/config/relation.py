"""Relations between columns of different databases, which no foreign key can hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from circle_migrate.core.findings import Severity


class Side(Enum):
    """The two sides of a merge."""

    LEFT = "left"
    RIGHT = "right"

    @property
    def other(self) -> Side:
        """The side across."""
        return Side.RIGHT if self is Side.LEFT else Side.LEFT


_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a database; without a schema the search_path finds its table."""

    database: str
    schema: str | None
    table: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Column:
        """`database.table.column` or `database.schema.table.column`. Raises `ValueError` for other texts."""
        parts = text.split(".")
        if len(parts) not in (3, 4) or not all(parts):
            raise ValueError(f"{text!r} is not of the form database.table.column")
        return cls(parts[0], parts[1] if len(parts) == 4 else None, parts[-2], parts[-1])

    @property
    def within(self) -> str:
        """The column as its own database calls it."""
        return ".".join(part for part in (self.schema, self.table, self.name) if part)

    def __str__(self) -> str:
        return f"{self.database}.{self.within}"


@dataclass(frozen=True, slots=True)
class Relation:
    """Two columns, as `database.table.column`, that are to hold the same keys; NULL is no key.

    `left_alone` and `right_alone` say how bad a key is that the other side has not: None where that is as it
    should be. Raises `ValueError` where it says nothing: `name` is a kebab-case word.
    """

    name: str
    left: str
    right: str
    left_alone: Severity | None = Severity.ERROR
    right_alone: Severity | None = Severity.ERROR

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a kebab-case name")
        if len(self.databases) < 2:
            raise ValueError(f"{self.name} is within one database, where a foreign key can hold it")

    @property
    def columns(self) -> dict[Side, Column]:
        """The column of each side."""
        return {Side.LEFT: Column.parse(self.left), Side.RIGHT: Column.parse(self.right)}

    @property
    def databases(self) -> frozenset[str]:
        """The databases it is about."""
        return frozenset(column.database for column in self.columns.values())

    def severity(self, side: Side) -> Severity | None:
        """How bad it is when a key stands on this side alone."""
        return self.left_alone if side is Side.LEFT else self.right_alone
