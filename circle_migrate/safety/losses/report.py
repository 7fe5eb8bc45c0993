"""What a downgrade takes away: values, and the report of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from circle_migrate.core.errors import ExitCode
from circle_migrate.core.result import Result
from circle_migrate.migrate.result import plan_dict
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.revision_graph.plan import Plan


class Effect(StrEnum):
    """What becomes of it. REJECTED is what rows keep from being made again, so that the downgrade fails."""

    DROPPED = "dropped"
    NARROWED = "narrowed"
    DELETED = "rows deleted"
    UPDATED = "rows changed"
    REJECTED = "restored constraint rejects"
    CHANGED = "changed"


class Method(StrEnum):
    """How it was found out.

    SCRATCH ran the downgrade on scratch databases, REHEARSAL on the live ones and rolled it back. SNAPSHOTS
    compared what the revisions lead to, by name.
    """

    SCRATCH = "scratch"
    REHEARSAL = "rehearsal"
    SNAPSHOTS = "snapshots"


class Precision(StrEnum):
    """How far a count can be relied on: to the row, as the planner's statistics have it, or not below it."""

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
        """Whether it was counted to the end."""
        return self.precision is Precision.EXACT


@dataclass(frozen=True, slots=True)
class Dependents:
    """The column of another database whose rows lose those they belong to, as `database.table.column`.

    `rows` is None where they could not be counted, for the reason in `why`.
    """

    column: str
    rows: Count | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Loss:
    """One object that goes or changes, or rows that do.

    `name` is the word people type, `identity` the object as its database prints it. Counts are None where
    nobody asked or nobody knows, and then `unknown` says why. `rows` are those of the table, or those that
    `effect` is about; `non_null` and `distinct` are a column's values; `newest` is the newest of the
    timestamps that say when a row was written. `revision` is the step, empty where it is not known.
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
        """The same for a loss that was found twice; several revisions can each change rows of one table."""
        by = self.revision if self.effect in (Effect.DELETED, Effect.UPDATED) else ""
        return (self.database, self.identity, self.kind, self.effect, by)

    @property
    def destroys_data(self) -> bool:
        """Whether values or rows go that nothing brings back; what is not known counts as some.

        What is `derived` from other data, as a generated column is, can be made again.
        """
        if self.derived:
            return False
        match self.effect, self.kind:
            case Effect.DROPPED, "column":
                return _some(self.non_null)
            case Effect.DROPPED, "table" | "enum value" | "sequence":
                return _some(self.rows)
            case ((Effect.NARROWED | Effect.DELETED | Effect.UPDATED), _):
                return _some(self.rows)
        return False

    def to_dict(self) -> dict[str, Any]:
        """The loss as the JSON output shows it."""
        return {
            "database": self.database,
            "kind": self.kind,
            "name": self.name,
            "identity": self.identity,
            "effect": str(self.effect),
            "destroys_data": self.destroys_data,
            "revision": self.revision or None,
            **{each: _count(getattr(self, each)) for each in ("rows", "non_null", "distinct", "bytes")},
            "newest": self.newest.isoformat() if self.newest else None,
            "partners": [
                {"column": dependents.column, "rows": _count(dependents.rows), "why": dependents.why or None}
                for dependents in self.dependents
            ],
            "detail": self.detail or None,
            "unknown": self.unknown or None,
        }


@dataclass(frozen=True, slots=True)
class LossNamer:
    """Names objects of a database as people type them: without `schema`, which needs no qualification."""

    database: str
    schema: str

    @classmethod
    def of(cls, database: str, search_path: str) -> LossNamer:
        """Return the namer for a search_path, whose entry "$user" counts as no schema."""
        schemas = (schema.strip() for schema in search_path.split(","))
        return cls(database, next((schema for schema in schemas if schema.strip('"') != "$user"), "public"))

    def name(self, identity: str) -> str:
        """Return the name of an object whose identity is as its catalogue prints it."""
        return f"{self.database}.{identity.removeprefix(f'{self.schema}.')}"

    def loss(self, key: ObjectKey, effect: Effect, revision: str = "", detail: str = "") -> Loss:
        """Return the loss of an object, without counts."""
        name = self.name(key.identity)
        return Loss(self.database, key.kind, name, key.identity, effect, revision, detail=detail)


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that would not get through: where it was tried, and the server's words."""

    database: str
    revision: str
    method: Method
    message: str
    location: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The failure as the JSON output shows it."""
        return {
            "database": self.database,
            "revision": self.revision or None,
            "found_by": str(self.method),
            "message": self.message,
            "location": self.location,
        }


@dataclass(frozen=True, slots=True)
class LossReport(Result):
    """Everything that a downgrade takes from the databases, found and counted at the moment `taken_at`.

    `not_rehearsed` has the reason for each revision that a rehearsal left out; it is empty where there was
    no rehearsal. `notes` say in what the report is less than it could be.
    """

    plan: Plan
    mode: str
    losses: tuple[Loss, ...]
    found_by: tuple[Method, ...]
    taken_at: datetime
    failures: tuple[Failure, ...] = ()
    not_rehearsed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def destroyed(self) -> tuple[Loss, ...]:
        """The losses that nothing brings back: what has to be accepted by name."""
        return tuple(loss for loss in self.losses if loss.destroys_data)

    @property
    def rejected(self) -> tuple[Loss, ...]:
        """What the rows that are there keep from being made again."""
        return tuple(loss for loss in self.losses if loss.effect is Effect.REJECTED)

    @property
    def harmless(self) -> tuple[Loss, ...]:
        """What goes or changes without any data, and keeps nothing from running."""
        return tuple(
            loss for loss in self.losses if not loss.destroys_data and loss.effect is not Effect.REJECTED
        )

    @property
    def exit_code(self) -> ExitCode:
        """FAILED where a step did not get through, REFUSED where data would go or rows are in the way."""
        if self.failures:
            return ExitCode.FAILED
        return ExitCode.REFUSED if self.destroyed or self.rejected else ExitCode.DONE

    def to_dict(self) -> dict[str, Any]:
        """The plan, and every loss in full."""
        return {
            "dry_run": True,
            "mode": self.mode,
            "plan": plan_dict(self.plan),
            "found_by": [str(method) for method in self.found_by],
            "taken_at": self.taken_at.isoformat(),
            "losses": [loss.to_dict() for loss in self.losses],
            "failures": [failure.to_dict() for failure in self.failures],
            "not_rehearsed": dict(self.not_rehearsed),
            "notes": list(self.notes),
        }


def merge(losses: Sequence[Loss], more: Iterable[Loss]) -> list[Loss]:
    """Add the losses that are not there yet, nor part of an object that is dropped; earlier ones win."""
    merged = list(losses)
    known = {loss.key for loss in merged}
    dropped = {(loss.database, loss.identity) for loss in merged if loss.effect is Effect.DROPPED}
    for loss in more:
        part = loss.effect is not Effect.DROPPED and (loss.database, loss.identity) in dropped
        if not part and loss.key not in known:
            merged.append(loss)
    return merged


def biggest_first(loss: Loss) -> tuple[Any, ...]:
    """The order within a database: what destroys data first, of that what holds most."""
    sizes = (count.value if count else 0 for count in (loss.bytes, loss.rows))
    return (not loss.destroys_data, *(-size for size in sizes), loss.name, loss.kind)


def _some(count: Count | None) -> bool:
    """Whether there may be any: only an exact count of nothing is none."""
    return count is None or count.value > 0 or not count.exact


def _count(count: Count | None) -> dict[str, Any] | None:
    return {"value": count.value, "precision": str(count.precision)} if count else None
