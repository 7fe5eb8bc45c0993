"""The result of `consistency`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circle_migrate.config.relation import ColumnReference, Relation, Side
from circle_migrate.core.findings import Report
from circle_migrate.core.result import json_fields


@dataclass(frozen=True, slots=True)
class RelationSide:
    """One side of a compared relation.

    `rows` is the number of rows read, `alone` the number of keys that the other side lacks, `samples` the
    lowest of them. `once` is the number of keys beyond the limit, which were not checked again.
    """

    column: ColumnReference
    type: str
    rows: int
    alone: int
    once: int
    samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RelationResult:
    """A compared relation; `as_text` if both sides have types of different families.

    `settled` is the number of keys that were unmatched at first and matched when they were checked again.
    `seconds` is the duration, including the pause before that check.
    """

    relation: Relation
    sides: Mapping[Side, RelationSide]
    as_text: bool
    settled: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ConsistencyResult(Report):
    """The checks, and the figures of every relation that could be compared."""

    relations: tuple[RelationResult, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the checks, their findings and the figures."""
        relations = [
            {
                "name": compared.relation.name,
                **{side.value: _side_dict(keys) for side, keys in compared.sides.items()},
                "compared_as_text": compared.as_text,
                "settled": compared.settled,
                "seconds": round(compared.seconds, 4),
            }
            for compared in self.relations
        ]
        return Report.to_dict(self) | {"relations": relations}


def _side_dict(keys: RelationSide) -> dict[str, Any]:
    return {
        "database": keys.column.database,
        "column": keys.column.within,
        **json_fields(keys, "type rows alone"),
        "not_looked_at_again": keys.once,
        **json_fields(keys, "samples"),
    }
