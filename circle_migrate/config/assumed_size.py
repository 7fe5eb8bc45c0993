"""Sizes of tables that people assert, where nothing can be measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from circle_migrate.core.errors import UsageError


class AssumedSize(StrEnum):
    """How large a table is taken to be."""

    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class SizeAssumption:
    """That tables whose name matches are of a weight; a name without a schema means any schema's."""

    pattern: str
    weight: AssumedSize
    database: str | None = None

    def covers(self, database: str, relation: str) -> bool:
        """Whether it is about this relation."""
        if self.database not in (None, database):
            return False
        bare = relation.rpartition(".")[2]
        return any(fnmatchcase(name, self.pattern) for name in (relation, bare))


def parse_assumption(text: str, databases: Iterable[str]) -> SizeAssumption:
    """`[DATABASE@]PATTERN = small|large`. Raises `UsageError` for anything else."""
    known = tuple(databases)
    name, equals, word = (part.strip() for part in text.partition("="))
    database, at, pattern = name.rpartition("@")
    hint = f"write: {known[0]}@public.orders = small, or large"
    if not equals or not pattern or word not in set(AssumedSize):
        raise UsageError(f"{text!r} says no table's size", hint=hint)
    if at and database not in known:
        raise UsageError(f"{text!r}: there is no database {database}", hint=hint)
    return SizeAssumption(pattern, AssumedSize(word), database if at else None)
