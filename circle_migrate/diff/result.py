"""Results of `diff`: two snapshots of each database, and the classified differences."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from circle_migrate.core.findings import Finding, Report, Severity
from circle_migrate.core.result import json_fields
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Ownership, Snapshot

_SIDE_FIELDS = "origin server_version_num revisions digest"
NEVER_COMPARED = "owner, privileges, comment, connection limit and locale of the database itself"


class Aspect(StrEnum):
    """The part of an object that differs."""

    DEFINITION = "definition"
    SECURITY = "security"
    STATE = "state"
    STORAGE = "storage"
    COMMENT = "comment"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Difference:
    """One change with its severity under the profile of its database.

    The severity ERROR sets the exit status. `renamed` is the only object of the other side that differs in
    its name alone: a hint, which changes nothing else.
    """

    change: Change
    aspect: Aspect
    severity: Severity
    renamed: ObjectKey | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the difference for the JSON output."""
        return {
            "op": str(self.change.op),
            **self.change.key._asdict(),
            "owner": str(self.change.owner) if self.change.owner else None,
            **json_fields(self, "aspect severity"),
            "renamed": str(self.renamed) if self.renamed else None,
            **json_fields(self.change, "fields"),
        }


@dataclass(frozen=True, slots=True)
class Trial:
    """What a scratch copy of one side showed about the DDL to the other side.

    `order` has the indexes of the statements that the server accepts, in an order that works. `gaps` names
    what they leave, with the server's words. `untried` is the reason if there was no copy.
    """

    order: tuple[int, ...] = ()
    gaps: tuple[str, ...] = ()
    untried: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both sides of one database and their differences.

    `differences` are without implied ones, as the columns of a missing table. `partitions` are the extra
    partitions that are not compared: scripts create them. `equivalent` are objects whose texts differ and
    mean the same. `ignored` counts the changes hidden by each ignore rule, `compared` the objects of each
    kind. `not_compared` describes what was left out, with the reason. `pending` is the number of revisions
    not yet applied to the live side. `default_schema` is the schema of operations that name none; None if it
    is unknown. `trials` has the trials of the DDL, and with True of the DDL that undoes it.
    """

    before: Snapshot
    after: Snapshot
    differences: tuple[Difference, ...]
    equivalent: tuple[Change, ...] = ()
    partitions: tuple[Change, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    compared: Mapping[str, int] = field(default_factory=dict)
    not_compared: tuple[str, ...] = ()
    pending: int = 0
    default_schema: str | None = None
    trials: Mapping[bool, Trial] = field(default_factory=dict)

    @property
    def database(self) -> str:
        """The name of the database."""
        return self.after.database

    @property
    def unmodelled(self) -> Mapping[str, int]:
        """The number of objects of undescribed kinds, by kind: the maximum of both sides."""
        sides = (self.before.unmodelled, self.after.unmodelled)
        kinds = sorted({kind for side in sides for kind in side})
        return {kind: max(side.get(kind, 0) for side in sides) for kind in kinds}

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison for the JSON output."""
        return {
            "database": self.database,
            "from": json_fields(self.before, _SIDE_FIELDS),
            "to": json_fields(self.after, _SIDE_FIELDS),
            "differences": [difference.to_dict() for difference in self.differences],
            "equivalent": [str(change.key) for change in self.equivalent],
            **json_fields(self, "ignored compared not_compared unmodelled pending"),
            "not_compared": [*self.not_compared, NEVER_COMPARED],
        }


def group_by_owner(comparison: Comparison, ownership: Ownership) -> dict[ObjectKey, list[Difference]]:
    """Group the differences by their topmost owner, whose own comes first, ordered by kind and identity."""
    groups: dict[ObjectKey, list[Difference]] = {}
    for difference in sorted(comparison.differences, key=lambda item: item.change.key):
        groups.setdefault(ownership.root(difference.change.key), []).append(difference)
    for root, differences in groups.items():
        differences.sort(key=lambda item: item.change.key != root)  # the order is stable
    return dict(sorted(groups.items()))


@dataclass(frozen=True, slots=True)
class DiffResult(Report):
    """The comparisons of all databases; a comparison that failed is a finding."""

    comparisons: tuple[Comparison, ...] = ()

    @property
    def comparison_errors(self) -> tuple[Finding, ...]:
        """The errors of databases without a comparison, or of all databases."""
        names = {comparison.database for comparison in self.comparisons}
        errors = (finding for finding in self.findings if finding.severity is Severity.ERROR)
        return tuple(finding for finding in errors if finding.database not in names)

    def to_dict(self) -> dict[str, Any]:
        """Return the checks and findings, and all comparisons."""
        return Report.to_dict(self) | json_fields(self, "comparisons")
