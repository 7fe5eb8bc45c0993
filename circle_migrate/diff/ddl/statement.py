"""SQL statements and their comments in scripts and revisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from circle_migrate.postgres.catalog.snapshot import ObjectKey


class HazardText(Protocol):
    """The properties of a hazard that comments need; `safety.hazards` has them."""

    @property
    def title(self) -> str:
        """The hazard in a few words."""

    @property
    def kind(self) -> str:
        """The class of the hazard, for example `data-loss`."""


HazardTexts = Mapping[str, HazardText]
"""Hazards by id."""


class Verb(IntEnum):
    """The operations on an object, in their default order.

    DETACH removes a default or the ownership of a sequence, so that other objects can be dropped; ATTACH sets
    the ownership of a sequence. RENAME renames a type that is replaced, DROP_OLD drops it after no column
    uses it.
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

    `hazards` are hazard ids. `transactional` is False if the statement, or a later one that uses its result,
    fails in the same transaction.
    """

    sql: str
    key: ObjectKey
    hazards: tuple[str, ...] = ()
    transactional: bool = True


def unsupported_comment(text: str) -> str:
    """Return the comment about a difference that no statement removes."""
    return f"NOT EXPRESSED: {' '.join(text.split())}"


def hazard_comment(hazard: str, texts: HazardTexts) -> str:
    """Return the comment above a statement with a hazard."""
    return f"HAZARD: {hazard} {texts[hazard].title}"
