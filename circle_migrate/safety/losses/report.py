"""Records of the losses of a downgrade, and their report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from circle_migrate.core.errors import ExitCode
from circle_migrate.core.result import json_fields
from circle_migrate.migrate.result import PlannedResult, plan_dict
from circle_migrate.postgres.catalog.snapshot import ObjectKey


class Effect(StrEnum):
    """The effect on an object. REJECTED: the downgrade fails, as rows violate a restored constraint."""

    DROPPED = "dropped"
    NARROWED = "narrowed"
    DELETED = "rows deleted"
    UPDATED = "rows changed"
    REJECTED = "restored constraint rejects"
    CHANGED = "changed"


class Method(StrEnum):
    """How losses were found: by a run on scratch databases or (REHEARSAL) live ones, or by SNAPSHOTS.

    NO_DATA: nothing was sought, as no table has rows.
    """

    SCRATCH = "scratch"
    REHEARSAL = "rehearsal"
    SNAPSHOTS = "snapshots"
    NO_DATA = "no data"


class Precision(StrEnum):
    """Whether a count is exact, an estimate from the planner's statistics, or a minimum."""

    EXACT = "exact"
    ESTIMATED = "estimated"
    AT_LEAST = "at least"


@dataclass(frozen=True, slots=True)
class Count:
    """A number of rows, values or bytes."""

    value: int
    precision: Precision = Precision.EXACT

    @property
    def exact(self) -> bool:
        """Whether the count is exact."""
        return self.precision is Precision.EXACT


@dataclass(frozen=True, slots=True)
class Dependents:
    """Rows that match lost rows, by `database.table.column`; None if not counted, for the reason in `why`."""

    column: str
    rows: Count | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Loss:
    """One object that is dropped or changed, or whose rows are.

    Users type `name`; `identity` is the object as its database prints it. A count is None where it does not
    apply or is unknown, for the reason in `unknown`. `rows` are those of the table, or those with the
    `effect`; `non_null` and `distinct` count a column's values; `newest` is the time of the last write.
    `revision` is the step, empty where it is not known. `derived` data can be computed again.
    """

    database: str
    kind: str
    name: str
    identity: str
    effect: Effect
    revision: str = ""
    rows: Count | None = None
    non_null: Count | None = None
    distinct: Count | None = None
    bytes: Count | None = None
    newest: datetime | None = None
    dependents: tuple[Dependents, ...] = ()
    detail: str = ""
    unknown: str = ""
    derived: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """The same for a loss that is found twice; changes of rows have a key for each revision."""
        revision = self.revision if self.effect in (Effect.DELETED, Effect.UPDATED) else ""
        return (self.database, self.identity, self.kind, self.effect, revision)

    @property
    def destroys_data(self) -> bool:
        """Whether values or rows are lost for good; an unknown count may be some."""
        if self.derived:
            return False
        match self.effect, self.kind:
            case Effect.DROPPED, "column":
                return _may_be_some(self.non_null)
            case Effect.DROPPED, "table" | "enum value" | "sequence":
                return _may_be_some(self.rows)
            case ((Effect.NARROWED | Effect.DELETED | Effect.UPDATED), _):
                return _may_be_some(self.rows)
        return False

    def to_dict(self) -> dict[str, Any]:
        """Return the loss for JSON output."""
        return {
            **json_fields(self, "database kind name identity effect destroys_data"),
            "revision": self.revision or None,
            **json_fields(self, "rows non_null distinct bytes newest"),
            "partners": [
                {**json_fields(dependents, "column rows"), "why": dependents.why or None}
                for dependents in self.dependents
            ],
            **{name: getattr(self, name) or None for name in ("detail", "unknown")},
        }


@dataclass(frozen=True, slots=True)
class LossNamer:
    """Names for objects of a database as users type them, without the default `schema`."""

    database: str
    schema: str

    @classmethod
    def of(cls, database: str, search_path: str) -> Self:
        """Return the namer for a search_path, whose entry "$user" counts as no schema."""
        schemas = (schema.strip() for schema in search_path.split(","))
        return cls(database, next((schema for schema in schemas if schema.strip('"') != "$user"), "public"))

    def name(self, identity: str) -> str:
        """Return the name of an object whose identity is as its catalog prints it."""
        return f"{self.database}.{identity.removeprefix(f'{self.schema}.')}"

    def loss(self, key: ObjectKey, effect: Effect, revision: str = "", detail: str = "") -> Loss:
        """Return the loss of an object, without counts."""
        name = self.name(key.identity)
        return Loss(self.database, key.kind, name, key.identity, effect, revision, detail=detail)


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed on scratch databases or in a rehearsal, with the server's message."""

    database: str
    revision: str
    method: Method
    message: str
    location: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the failure for JSON output."""
        return {
            "database": self.database,
            "revision": self.revision or None,
            "found_by": str(self.method),
            **json_fields(self, "message location"),
        }


@dataclass(frozen=True, slots=True)
class LossReport(PlannedResult):
    """All losses, counted at `taken_at`; `not_rehearsed` (reasons) and `notes` say what is incomplete."""

    losses: tuple[Loss, ...]
    found_by: tuple[Method, ...]
    taken_at: datetime
    failures: tuple[Failure, ...] = ()
    not_rehearsed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def destroyed(self) -> tuple[Loss, ...]:
        """The losses of data, which have to be accepted by name."""
        return tuple(loss for loss in self.losses if loss.destroys_data)

    @property
    def rejected(self) -> tuple[Loss, ...]:
        """The restored constraints that existing rows violate."""
        return tuple(loss for loss in self.losses if loss.effect is Effect.REJECTED)

    @property
    def harmless(self) -> tuple[Loss, ...]:
        """The other losses: objects that are dropped or changed without loss of data."""
        others = (loss for loss in self.losses if not loss.destroys_data)
        return tuple(loss for loss in others if loss.effect is not Effect.REJECTED)

    @property
    def exit_code(self) -> ExitCode:
        """FAILED where a step failed, REFUSED where data would be lost or a constraint rejects rows."""
        if self.failures:
            return ExitCode.FAILED
        return ExitCode.REFUSED if self.destroyed or self.rejected else ExitCode.DONE

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON output."""
        return {
            "dry_run": True,
            **self.settings_dict(),
            "plan": plan_dict(self.plan),
            **json_fields(self, "found_by taken_at losses failures not_rehearsed notes"),
        }


def merge(losses: Sequence[Loss], more: Iterable[Loss]) -> list[Loss]:
    """Add the losses that are not yet in the list and not part of a dropped object."""
    merged = list(losses)
    known = {loss.key for loss in merged}
    dropped = {(loss.database, loss.identity) for loss in merged if loss.effect is Effect.DROPPED}
    for loss in more:
        part = loss.effect is not Effect.DROPPED and (loss.database, loss.identity) in dropped
        if not part and loss.key not in known:
            merged.append(loss)
    return merged


def sort_key(loss: Loss) -> tuple[Any, ...]:
    """Return the key that puts losses of data first, and the largest of them at the top."""
    sizes = (count.value if count else 0 for count in (loss.bytes, loss.rows))
    return (not loss.destroys_data, *(-size for size in sizes), loss.name, loss.kind)


def _may_be_some(count: Count | None) -> bool:
    """Return False for an exact count of zero only."""
    return count is None or count.value > 0 or not count.exact
