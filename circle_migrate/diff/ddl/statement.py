"""The statements of a script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from circle_migrate.postgres.catalog.snapshot import ObjectKey


class HazardText(Protocol):
    """What comments in scripts say of a hazard; the hazard catalogue stands above this package."""

    @property
    def title(self) -> str:
        """The hazard in a few words."""

    @property
    def kind(self) -> str:
        """Its class, for example `data-loss`."""


HazardTexts = Mapping[str, HazardText]
"""The texts by hazard id."""


class Verb(IntEnum):
    """What is done to an object, in the order it is done where nothing else decides.

    RELEASE takes from an object what keeps others from going (a default, the ownership of a sequence),
    RENAME moves a type out of the way of its successor, DISCARD drops it when no column has it any more,
    ATTACH gives an object what needs another one that is made after it.
    """

    DETACH = 0
    DROP = 1
    RENAME = 2
    CREATE = 3
    ALTER = 4
    ATTACH = 5
    DROP_OLD = 6


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL command, without a semicolon.

    `hazards` are ids of the hazard catalogue. `transactional` is False where it, or a later statement that
    uses what it makes, fails in the same transaction.
    """

    sql: str
    key: ObjectKey
    hazards: tuple[str, ...] = ()
    transactional: bool = True


def unsupported_comment(text: str) -> str:
    """Return the text of a comment about what no statement expresses."""
    return f"NOT EXPRESSED: {' '.join(text.split())}"


def hazard_comment(hazard: str, texts: HazardTexts) -> str:
    """Return the text of a comment above a statement with a hazard."""
    return f"HAZARD: {hazard} {texts[hazard].title}"
