"""Relations between columns of different databases, where a foreign key is impossible."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Self

from circle_migrate.core.findings import Severity


class Side(Enum):
    """Side of a relation."""

    LEFT = "left"
    RIGHT = "right"

    @property
    def other(self) -> "Side":
        """The opposite side."""
        return Side.RIGHT if self is Side.LEFT else Side.LEFT


_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class ColumnReference:
    """A column of a database; without a schema, its table is found by the search_path."""

    database: str
    schema: str | None
    table: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `database.table.column` or `database.schema.table.column`. Raises `ValueError`."""
        parts = text.split(".")
        if len(parts) not in (3, 4) or not all(parts):
            raise ValueError(f"{text!r} is not of the form database.table.column")
        return cls(parts[0], parts[1] if len(parts) == 4 else None, parts[-2], parts[-1])

    @property
    def within(self) -> str:
        """The column without the name of the database."""
        return ".".join(part for part in (self.schema, self.table, self.name) if part)

    def __str__(self) -> str:
        return f"{self.database}.{self.within}"


@dataclass(frozen=True, slots=True)
class Relation:
    """Two columns, as `database.table.column`, that contain the same keys; NULL is not a key.

    `left_alone` and `right_alone` are the severities of a key that only this side has; None accepts it.
    Raises `ValueError` unless `name` is in kebab-case and the columns are in different databases.
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
            raise ValueError(f"{self.name} is within one database: use a foreign key")

    @property
    def columns(self) -> dict[Side, ColumnReference]:
        """The column of each side."""
        return {Side.LEFT: ColumnReference.parse(self.left), Side.RIGHT: ColumnReference.parse(self.right)}

    @property
    def databases(self) -> frozenset[str]:
        """The databases of the two columns."""
        return frozenset(column.database for column in self.columns.values())

    def severity(self, side: Side) -> Severity | None:
        """Return the severity of a key that only this side has."""
        return self.left_alone if side is Side.LEFT else self.right_alone
