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

    `rows` is the number of rows read, `unmatched` the number of keys that the other side lacks, `samples` the
    lowest of them. `not_rechecked` is the number of keys beyond the limit of those that are checked again.
    """

    column: ColumnReference
    type: str
    rows: int
    unmatched: int
    not_rechecked: int
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
                "name": result.relation.name,
                **{side.value: _side_dict(keys) for side, keys in result.sides.items()},
                "compared_as_text": result.as_text,
                "settled": result.settled,
                "seconds": round(result.seconds, 4),
            }
            for result in self.relations
        ]
        return Report.to_dict(self) | {"relations": relations}


def _side_dict(keys: RelationSide) -> dict[str, Any]:
    return {
        "database": keys.column.database,
        "column": keys.column.within,
        **json_fields(keys, "type rows"),
        "alone": keys.unmatched,
        "not_looked_at_again": keys.not_rechecked,
        **json_fields(keys, "samples"),
    }
