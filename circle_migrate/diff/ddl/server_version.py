"""What the second side has in the terms of the first one's server, on which a sketch runs.

MAINTAIN is a privilege since PostgreSQL 17 (https://www.postgresql.org/docs/17/release-17.html): an older
server cannot grant it, and that one does not know it is no reason to take it from anybody.
"""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.diff.ddl.privilege import LINE, parse
from circle_migrate.diff.result import Comparison
from circle_migrate.diff.scope import MAINTAIN_ITEM, MAINTAIN_SINCE
from circle_migrate.postgres.catalog.snapshot import Fields, Snapshot
from circle_migrate.postgres.identifier import split_lines

_MAINTAIN = "MAINTAIN"


def adapted(comparison: Comparison, wanted: Fields, had: Fields | None) -> Fields:
    """An object of the second side; `had` is what the first one has of that name."""
    knows = _knows(comparison.before)
    if not wanted.get("acl") or knows == _knows(comparison.after):
        return wanted
    lines = _with_kept(wanted, had) if knows else _without(wanted)
    return {**wanted, "acl": "\n".join(lines)}


def unknown(comparison: Comparison) -> Iterator[str]:
    """The differences for which the first side's server has no words."""
    for difference in () if _knows(comparison.before) else comparison.differences:
        acl = difference.change.fields.get("acl", (None, None))[1]
        if any(list(held) == [_MAINTAIN] for held in parse(acl).values()):
            yield f"privilege {_MAINTAIN}, since PostgreSQL {MAINTAIN_SINCE}, of {difference.change.key}"


def _knows(side: Snapshot) -> bool:
    return side.major >= MAINTAIN_SINCE


def _with_kept(wanted: Fields, had: Fields | None) -> Iterator[str]:
    """Who has any privilege keeps MAINTAIN, which the owner of a new object gets."""
    held = parse((had or {}).get("acl"))
    owner = wanted.get("owner") or wanted.get("role")
    for line in split_lines(wanted.get("acl")):
        match = LINE.fullmatch(line)
        role = match[1] if match else ""
        option = held.get(role, {}).get(_MAINTAIN, False if had is None and role == owner else None)
        if match is None or option is None:
            yield line
        else:
            yield f"{line[: match.end(2)]}, {_MAINTAIN}{'*' * option}{line[match.end(2) :]}"


def _without(wanted: Fields) -> Iterator[str]:
    for line in split_lines(wanted.get("acl")):
        match = LINE.fullmatch(line)
        if match is None or match[2].rstrip("*") != _MAINTAIN:
            yield MAINTAIN_ITEM.sub("", line)
