"""Relations between columns of different databases, which no foreign key can hold, and how they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circle_migrate.config.relation import Column, Relation, Side
from circle_migrate.core.findings import Report


@dataclass(frozen=True, slots=True)
class Keys:
    """One side of a relation that was compared.

    `rows` were read; `alone` counts the keys that the other side has not, `samples` are the lowest of them.
    `once` is how many of them were too many to be looked at again.
    """

    column: Column
    type: str
    rows: int
    alone: int
    once: int
    samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """A relation that was compared; `as_text` where the types of both sides hold different things.

    `settled` keys stood alone at first and did not when they were looked at again, a moment later. `seconds`
    is how long it took, with that moment.
    """

    relation: Relation
    sides: Mapping[Side, Keys]
    as_text: bool
    settled: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ConsistencyResult(Report):
    """Every relation that was compared; those that could not be are findings of their check, or skipped."""

    relations: tuple[Compared, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The checks and findings, and every relation in figures."""
        return Report.to_dict(self) | {"relations": [_shown(compared) for compared in self.relations]}


def _shown(compared: Compared) -> dict[str, Any]:
    return {
        "name": compared.relation.name,
        **{side.value: _keys(keys) for side, keys in compared.sides.items()},
        "compared_as_text": compared.as_text,
        "settled": compared.settled,
        "seconds": round(compared.seconds, 4),
    }


def _keys(keys: Keys) -> dict[str, Any]:
    return {
        "database": keys.column.database,
        "column": keys.column.within,
        "type": keys.type,
        "rows": keys.rows,
        "alone": keys.alone,
        "not_looked_at_again": keys.once,
        "samples": list(keys.samples),
    }
