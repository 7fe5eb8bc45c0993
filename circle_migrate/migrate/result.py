"""What commands return that plan or move: the plan, and what of it ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from circle_migrate.core.result import Result
from circle_migrate.revision_graph.plan import Action, Plan, Stamp

if TYPE_CHECKING:
    from circle_migrate.migrate.kept_data.entry import KeptRowCount


def action_dict(action: Action) -> dict[str, Any]:
    """A step or a stamp as the JSON output shows it."""
    shown: dict[str, Any] = {"database": action.database, "direction": str(action.direction)}
    if isinstance(action, Stamp):
        return shown | {"heads": list(action.heads)}
    revision = action.revision
    return shown | {"revision": revision.id, "message": revision.message, "file": revision.path}


def plan_dict(plan: Plan) -> dict[str, Any]:
    """A plan as the JSON output shows it."""
    return {
        "current": {name: list(heads) for name, heads in plan.current.items()},
        "target": {name: list(heads) for name, heads in plan.after.items()},
        "segments": [
            {
                "transactional": segment.transactional,
                "databases": list(segment.databases),
                "ends_because": segment.end_reason or None,
                "steps": [action_dict(action) for action in segment.actions],
            }
            for segment in plan.segments
        ],
        "pulled_in": [revision.qualified for revision in plan.added_dependencies],
    }


@dataclass(frozen=True, slots=True)
class MigrationResult(Result):
    """Both databases' way from one revision to another: `upgrade`, `downgrade`, `stamp` and `init`.

    `mode` is how segments over several databases are committed, `serial` or `atomic`.
    `seconds` has the duration of each action of the plan that ran, `tables` the tables there are now,
    `created` the databases that were made first, `kept` the rows that a downgrade has kept, an upgrade put
    back, `way_back` the backup that was made before anything ran, `notes` what else is to be known.
    """

    plan: Plan
    mode: str
    dry_run: bool = False
    run: str | None = None
    seconds: tuple[float, ...] = ()
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    created: tuple[str, ...] = ()
    kept: tuple[KeptRowCount, ...] = ()
    restore_instructions: RestoreInstructions | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The plan, what of it ran, and where the databases are."""
        reached = self.plan.current if self.dry_run else self.plan.after
        return {
            "dry_run": self.dry_run,
            "run": self.run,
            "mode": self.mode,
            "plan": plan_dict(self.plan),
            "applied": [
                action_dict(action) | {"seconds": round(seconds, 4)}
                for action, seconds in zip(self.plan.actions, self.seconds, strict=False)
            ],
            "databases": {
                name: {"current": list(heads), "tables": list(self.tables.get(name, ()))}
                for name, heads in reached.items()
            },
            "created": list(self.created),
            "kept": [kept_row_count.to_dict() for kept_row_count in self.kept],
            "notes": list(self.notes),
            "backup": self.restore_instructions.to_dict() if self.restore_instructions else None,
        }


@dataclass(frozen=True, slots=True)
class ScriptResult(Result):
    """SQL for psql: `upgrade --sql` and `downgrade --sql`."""

    text: str

    def to_dict(self) -> dict[str, Any]:
        """The script."""
        return {"sql": self.text}


@dataclass(frozen=True, slots=True)
class PlanResult(Result):
    """What an upgrade or a downgrade would do: `plan`; `file` is where it was saved."""

    plan: Plan
    mode: str
    file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The plan and the transaction mode."""
        return {"mode": self.mode, "plan": plan_dict(self.plan), "file": self.file}


@dataclass(frozen=True, slots=True)
class RestoreInstructions:
    """The backup that was made right before a run, and the command that puts it in the databases' place."""

    id: str
    manifest: str
    restore: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The backup as the JSON output and the journal show it."""
        return {**asdict(self), "notes": list(self.notes)}
