"""Results of commands that plan or run revisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circle_migrate.core.result import Result, json_fields
from circle_migrate.revision_graph.plan import Action, Plan, Stamp

if TYPE_CHECKING:
    from circle_migrate.migrate.kept_data.registry import KeptRowCount
    from circle_migrate.postgres.deployment import Deployment


def action_dict(action: Action) -> dict[str, Any]:
    """Return a step or a stamp as the JSON output shows it."""
    common: dict[str, Any] = {"database": action.database, "direction": str(action.direction)}
    if isinstance(action, Stamp):
        return common | {"heads": list(action.heads)}
    revision = action.revision
    return common | {"revision": revision.id, "message": revision.message, "file": revision.path}


def plan_dict(plan: Plan) -> dict[str, Any]:
    """Return a plan as the JSON output shows it."""
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
class PlannedResult(Result):
    """A result with a plan, and the settings that a reader of the plan has to know.

    `mode` is how segments over several databases are committed, `serial` or `atomic`. `environment` is that
    of --env, None without one. `statement_timeout` is in seconds, 0 for no limit.
    """

    plan: Plan
    mode: str
    environment: str | None = field(default=None, kw_only=True)
    statement_timeout: float = field(default=0.0, kw_only=True)

    def settings_dict(self) -> dict[str, Any]:
        """Return the settings as the JSON output shows them."""
        return json_fields(self, "mode environment statement_timeout")


def plan_settings(deployment: Deployment) -> dict[str, Any]:
    """Return the settings of a deployment as arguments of a `PlannedResult`."""
    settings = deployment.settings
    return {
        "mode": deployment.commit_mode,
        "environment": settings.env,
        "statement_timeout": settings.statement_timeout,
    }


@dataclass(frozen=True, slots=True)
class MigrationResult(PlannedResult):
    """The result of `upgrade`, `downgrade`, `stamp` and `init`.

    `seconds` has the durations of the actions that ran, `tables` the present tables by database, `created`
    the databases that were created before, `kept` the rows that a downgrade kept or an upgrade restored,
    `restore_instructions` the backup that was made before anything ran, `warnings` what was logged meanwhile.
    """

    dry_run: bool = False
    run: str | None = None
    seconds: tuple[float, ...] = ()
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    created: tuple[str, ...] = ()
    kept: tuple[KeptRowCount, ...] = ()
    restore_instructions: RestoreInstructions | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan, the applied actions and the current revisions."""
        reached = self.plan.current if self.dry_run else self.plan.after
        return {
            **json_fields(self, "dry_run run"),
            **self.settings_dict(),
            "plan": plan_dict(self.plan),
            "applied": [
                action_dict(action) | {"seconds": round(seconds, 4)}
                for action, seconds in zip(self.plan.actions, self.seconds, strict=False)
            ],
            "databases": {
                name: {"current": list(heads), "tables": list(self.tables.get(name, ()))}
                for name, heads in reached.items()
            },
            **json_fields(self, "created kept"),
            "notes": [*self.notes, *self.warnings],
            "backup": self.restore_instructions.to_dict() if self.restore_instructions else None,
        }


@dataclass(frozen=True, slots=True)
class ScriptResult(Result):
    """SQL for psql: `upgrade --sql` and `downgrade --sql`."""

    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return the script."""
        return {"sql": self.text}


@dataclass(frozen=True, slots=True)
class PlanResult(PlannedResult):
    """The plan of an upgrade or a downgrade: `plan`; `file` is the file it was saved to.

    `changed_schemas` has the fingerprints of schemas that were changed by hand, None if unknown.
    """

    file: str | None = None
    notes: tuple[str, ...] = ()
    changed_schemas: Mapping[str, str | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan, the commit mode, the file and the notes."""
        return {**self.settings_dict(), "plan": plan_dict(self.plan), **json_fields(self, "file notes")}


@dataclass(frozen=True, slots=True)
class RestoreInstructions:
    """The backup that was made before a run, and the command that restores it."""

    id: str
    manifest: str
    restore: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the backup as the JSON output and the journal show it."""
        return json_fields(self, "id manifest restore notes")
