"""What `diff` returns: two snapshots of each database, and every difference with how much it matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from circle_migrate.core.findings import Finding, Report, Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Ownership, Snapshot


class Aspect(StrEnum):
    """What of an object differs, as far as people treat it differently."""

    DEFINITION = "definition"
    SECURITY = "security"
    STATE = "state"
    STORAGE = "storage"
    COMMENT = "comment"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Difference:
    """One change, judged by the profile of its database.

    `severity` ERROR decides the exit status. `renamed` is the object of the other side that is the same but
    for its name, where there is exactly one: a hint, never acted upon.
    """

    change: Change
    aspect: Aspect
    severity: Severity
    renamed: ObjectKey | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both sides of one database and how they differ.

    `differences` do not repeat what follows from another one: the columns of a table that is missing as a
    whole. `equivalent` are texts that differ and mean the same, `ignored` counts what each ignore rule hid,
    `compared` the objects looked at by kind, `not_compared` says what was left out and why. `pending` is the
    number of revisions the live side has not reached, which are no drift. `default_schema` is the schema in
    which a revision's operations work that name none, where that is known.
    """

    before: Snapshot
    after: Snapshot
    differences: tuple[Difference, ...]
    equivalent: tuple[Change, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    compared: Mapping[str, int] = field(default_factory=dict)
    not_compared: tuple[str, ...] = ()
    pending: int = 0
    default_schema: str | None = None

    @property
    def database(self) -> str:
        """Whose catalogue it is."""
        return self.after.database

    @property
    def unmodelled(self) -> Mapping[str, int]:
        """What neither side describes, by kind: as many as the one has that has more."""
        sides = (self.before.unmodelled, self.after.unmodelled)
        kinds = sorted({kind for side in sides for kind in side})
        return {kind: max(side.get(kind, 0) for side in sides) for kind in kinds}

    def to_dict(self) -> dict[str, Any]:
        """The comparison as the JSON output shows it."""
        return {
            "database": self.database,
            "from": _side(self.before),
            "to": _side(self.after),
            "differences": [_difference(difference) for difference in self.differences],
            "equivalent": [str(change.key) for change in self.equivalent],
            "ignored": dict(self.ignored),
            "compared": dict(self.compared),
            "not_compared": list(self.not_compared),
            "unmodelled": dict(self.unmodelled),
            "pending": self.pending,
        }


class Group(NamedTuple):
    """The differences of an object and of what belongs to it; those of the object itself come first."""

    root: ObjectKey
    differences: tuple[Difference, ...]


def grouped(comparison: Comparison, ownership: Ownership) -> tuple[Group, ...]:
    """Group the differences by their topmost owner, ordered by kind and identity."""
    groups: dict[ObjectKey, list[Difference]] = {}
    for difference in comparison.differences:
        groups.setdefault(ownership.root(difference.change.key), []).append(difference)
    return tuple(
        Group(root, tuple(sorted(groups[root], key=lambda one: (one.change.key != root, one.change.key))))
        for root in sorted(groups)
    )


@dataclass(frozen=True, slots=True)
class DiffResult(Report):
    """The comparisons of all databases; those that could not be made are findings of their check."""

    comparisons: tuple[Comparison, ...] = ()

    @property
    def comparison_errors(self) -> tuple[Finding, ...]:
        """The errors about databases without a comparison, or about all databases."""
        compared = {comparison.database for comparison in self.comparisons}
        return tuple(
            finding
            for finding in self.findings
            if finding.severity is Severity.ERROR and finding.database not in compared
        )

    def to_dict(self) -> dict[str, Any]:
        """The checks and findings, and every comparison in full."""
        shown = Report.to_dict(self)
        return shown | {"comparisons": [comparison.to_dict() for comparison in self.comparisons]}


def _side(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "origin": snapshot.origin,
        "server_version_num": snapshot.server_version_num,
        "revisions": None if snapshot.revisions is None else list(snapshot.revisions),
        "digest": snapshot.digest,
    }


def _difference(difference: Difference) -> dict[str, Any]:
    change = difference.change
    return {
        "op": str(change.op),
        "kind": change.key.kind,
        "identity": change.key.identity,
        "owner": str(change.owner) if change.owner else None,
        "aspect": str(difference.aspect),
        "severity": str(difference.severity),
        "renamed": str(difference.renamed) if difference.renamed else None,
        "fields": {name: list(sides) for name, sides in change.fields.items()},
    }
