"""Adapt the target to the server on which the script runs.

MAINTAIN is a privilege since PostgreSQL 17 (https://www.postgresql.org/docs/17/release-17.html). An older
server cannot grant it; a script for a newer server must not revoke it because the older side lacks it.
"""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.diff.ddl.privilege import LINE, parse
from circle_migrate.diff.result import Comparison
from circle_migrate.diff.scope import MAINTAIN_ITEM, MAINTAIN_SINCE
from circle_migrate.postgres.catalog.snapshot import Fields, Snapshot
from circle_migrate.postgres.identifier import split_lines

_MAINTAIN = "MAINTAIN"


def adapted(comparison: Comparison, target: Fields, current: Fields | None) -> Fields:
    """Return an object of the second side without or with MAINTAIN; `current` is it on the first side."""
    has_maintain = _has_maintain(comparison.before)
    if not target.get("acl") or has_maintain == _has_maintain(comparison.after):
        return target
    lines = _with_maintain(target, current) if has_maintain else _without_maintain(target)
    return {**target, "acl": "\n".join(lines)}


def unsupported(comparison: Comparison) -> Iterator[str]:
    """Yield the differences that the first side's server does not support."""
    for difference in () if _has_maintain(comparison.before) else comparison.differences:
        acl = difference.change.fields.get("acl", (None, None))[1]
        if any(list(granted) == [_MAINTAIN] for granted in parse(acl).values()):
            yield f"privilege {_MAINTAIN}, since PostgreSQL {MAINTAIN_SINCE}, of {difference.change.key}"


def _has_maintain(side: Snapshot) -> bool:
    return side.major >= MAINTAIN_SINCE


def _with_maintain(target: Fields, current: Fields | None) -> Iterator[str]:
    """Keep MAINTAIN for roles that have any privilege; the owner of a new object gets it."""
    granted = parse((current or {}).get("acl"))
    owner = target.get("owner") or target.get("role")
    for line in split_lines(target.get("acl")):
        match = LINE.fullmatch(line)
        role = match[1] if match else ""
        option = granted.get(role, {}).get(_MAINTAIN, False if current is None and role == owner else None)
        if match is None or option is None:
            yield line
        else:
            yield f"{line[: match.end(2)]}, {_MAINTAIN}{'*' * option}{line[match.end(2) :]}"


def _without_maintain(target: Fields) -> Iterator[str]:
    for line in split_lines(target.get("acl")):
        match = LINE.fullmatch(line)
        if match is None or match[2].rstrip("*") != _MAINTAIN:
            yield MAINTAIN_ITEM.sub("", line)
