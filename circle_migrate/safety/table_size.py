"""How large tables count: by what was measured, or by what somebody says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from circle_migrate.config.assumed_size import AssumedSize, SizeAssumption
from circle_migrate.safety.rules.evidence import NEVER, Limits

_LIMITS = {AssumedSize.SMALL: NEVER, AssumedSize.LARGE: Limits(0, 0)}


def limits(
    assumptions: Sequence[SizeAssumption], relations: Mapping[str, Iterable[str]]
) -> dict[str, Limits]:
    """The limits of the relations (by database) somebody says something of; the first assumption decides.

    Keyed by `database@schema.name`.
    """
    found = {}
    for database, names in relations.items():
        for relation in names:
            said = next(
                (assumption.weight for assumption in assumptions if assumption.covers(database, relation)),
                None,
            )
            if said is not None:
                found[f"{database}@{relation}"] = _LIMITS[said]
    return found
