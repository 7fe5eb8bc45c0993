"""Assumed sizes of tables, used where no size can be measured."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from circle_migrate.core.errors import UsageError


class AssumedSize(StrEnum):
    """Assumed size of a table."""

    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class SizeAssumption:
    """The assumed size of the tables that match a pattern; without a schema it matches in every schema."""

    pattern: str
    size: AssumedSize
    database: str | None = None

    def __str__(self) -> str:
        return f"{f'{self.database}@' if self.database else ''}{self.pattern} = {self.size}"

    def covers(self, database: str, relation: str) -> bool:
        """Return whether the assumption applies to the relation."""
        names = (relation, relation.rpartition(".")[2])
        return self.database in (None, database) and any(fnmatchcase(name, self.pattern) for name in names)


def parse_assumption(text: str, databases: Iterable[str]) -> SizeAssumption:
    """Parse `[DATABASE@]PATTERN = small|large`. Raises `UsageError` for any other text."""
    known = tuple(databases)
    table, equals, size = (part.strip() for part in text.partition("="))
    database, at, pattern = table.rpartition("@")
    hint = f"write [DATABASE@]TABLE = small, or large; for example {known[0]}@public.orders = small"
    if not equals or not pattern or size not in set(AssumedSize):
        raise UsageError(f"{text!r} is not the size of a table", hint=hint)
    if at and database not in known:
        raise UsageError(f"{text!r}: there is no database {database}", hint=hint)
    return SizeAssumption(pattern, AssumedSize(size), database if at else None)
