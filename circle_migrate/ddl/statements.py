"""What a sketch consists of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from circle_migrate.core.catalog import Key
from circle_migrate.core.differences import Comparison

if TYPE_CHECKING:
    from circle_migrate.ddl.plan import Plan


class Verb(IntEnum):
    """What is done to an object, in the order it is done where nothing else decides.

    RELEASE takes from an object what keeps others from going (a default, the ownership of a sequence),
    RENAME moves a type out of the way of its successor, DISCARD drops it when no column has it any more,
    ATTACH gives an object what needs another one that is made after it.
    """

    RELEASE = 0
    DROP = 1
    RENAME = 2
    CREATE = 3
    ALTER = 4
    ATTACH = 5
    DISCARD = 6


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL command, without a semicolon.

    `hazards` are ids of the hazard catalogue. `transactional` is False where it, or a later statement that
    uses what it makes, fails in the same transaction.
    """

    sql: str
    key: Key
    hazards: tuple[str, ...] = ()
    transactional: bool = True


def hazard_comment(hazard: str) -> str:
    """Return the text of a comment above a statement with a hazard."""
    from circle_migrate.core.hazards import HAZARDS

    return f"HAZARD: {hazard} {HAZARDS[hazard].title}"


@dataclass(frozen=True, slots=True)
class Sketch:
    """The DDL that leads one database from one side of a comparison to the other.

    `before` and `after` say where from and where to. `incomplete` names what the statements leave different,
    in words; empty means that they lead to a catalogue without a difference. `plan` is what was decided
    before it was written.
    """

    comparison: Comparison
    before: str
    after: str
    statements: tuple[Statement, ...]
    incomplete: tuple[str, ...]
    plan: Plan

    @property
    def database(self) -> str:
        """The database it is for."""
        return self.comparison.database
