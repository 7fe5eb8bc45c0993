"""`plan`: show what an upgrade or downgrade would do, or save it to a file for a later run."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from circle_migrate import __version__
from circle_migrate.commands.drift import DriftGate
from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.migrate.contradictions import plan_in_agreement
from circle_migrate.migrate.guards import ensure_not_in_doubt, ensure_own_tables, verify_identity
from circle_migrate.migrate.planner import PlanGuard, Planner
from circle_migrate.migrate.result import PlanResult, plan_dict, plan_settings
from circle_migrate.migrate.unknown_relations import ensure_not_foreign, indistinct_databases
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction, Plan, Step

_FORMAT = 1


async def plan(
    deployment: Deployment,
    targets: Sequence[str],
    direction: Direction,
    *,
    cascade: bool = False,
    into_existing: bool = False,
) -> PlanResult:
    """Plan an upgrade or downgrade to the targets, without changes or locks; it is refused as a run is."""
    states = await deployment.states(deployment.planned_databases(direction))
    verify_identity(deployment, states)
    ensure_own_tables(states, reading=True)
    ensure_not_in_doubt(states)
    new_plan = await plan_in_agreement(deployment, states, Planner(deployment, targets, direction, cascade))
    if not into_existing:
        await ensure_not_foreign(deployment, states, new_plan)
    gate = DriftGate(deployment)
    notes = await gate.check(new_plan, states)
    notes += indistinct_databases(deployment, states, new_plan)
    return PlanResult(
        "plan", new_plan, **plan_settings(deployment), notes=notes, changed_schemas=gate.changed
    )


def save(
    result: PlanResult, targets: Sequence[str], direction: Direction, path: Path, *, cascade: bool = False
) -> PlanResult:
    """Write a plan to a file; return the plan with it. Raises `UsageError` if it cannot be written."""
    content = {
        "circle_migrate_plan": _FORMAT,
        "tool_version": __version__,
        "direction": str(direction),
        "targets": list(targets),
        "cascade": cascade,
        "environment": result.environment,
        "changed_schemas": result.changed_schemas,
        **_comparable(result.plan, result.mode),
    }
    from circle_migrate.core.atomic_write import write_text

    write_text(path, json.dumps(content, indent=2) + "\n", hint="choose another file with -o")
    return replace(result, file=str(path))


def _comparable(plan: Plan, commit_mode: str) -> dict[str, Any]:
    """Return what must be the same when a saved plan runs; the paths of files may differ."""
    content = plan_dict(plan)
    for segment in content["segments"]:
        for step in segment["steps"]:
            step.pop("file", None)
    steps = (action.revision for action in plan.actions if isinstance(action, Step))
    checksums = {revision.qualified: revision.checksum for revision in steps}
    return {"mode": commit_mode, "plan": content, "checksums": checksums}


_PARTS: dict[str, Callable[[Any], Any]] = {
    "the environment": lambda content: content.get("environment") or "no environment",
    "the selection of databases": lambda content: list(content["plan"]["current"]),
    "the current revisions": lambda content: content["plan"]["current"],
    "the revision files": lambda content: content["checksums"],
    "the commit mode": lambda content: content["mode"],
    "the steps": lambda content: content["plan"],
}
"""What must be the same when a saved plan runs, in the order in which a difference is told."""


class SavedPlan:
    """A plan from a file. The constructor raises `UsageError` if the file is not a plan."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            from circle_migrate.core.json_file import parse_json, read_bounded

            content = parse_json(read_bounded(path))
            if content["circle_migrate_plan"] != _FORMAT:
                raise UsageError(
                    f"{path} is from another version of circle-migrate", hint="save the plan again"
                )
            self.direction = Direction(content["direction"])
            self.targets = list(map(str, content["targets"]))
            self.cascade = bool(content["cascade"])
            self._changed_schemas = dict(content["changed_schemas"])
            self._parts = {name: part(content) for name, part in _PARTS.items()}
        except OSError as error:
            raise UsageError(f"{path} cannot be read", detail=error.strerror) from error
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} is not a saved plan", hint="save a plan with `circle-migrate plan -o FILE`"
            ) from error

    def guard(self, deployment: Deployment) -> PlanGuard:
        """Return a guard that refuses any other plan and tells the difference."""

        def ensure_unchanged(plan: Plan) -> None:
            content = {"environment": deployment.settings.env, **_comparable(plan, deployment.commit_mode)}
            for name, part in _PARTS.items():
                if self._parts[name] != part(content):
                    saved, current = (json.dumps(value)[:300] for value in (self._parts[name], part(content)))
                    raise self._stale_error(name, f"saved {saved}, now {current}")

        return ensure_unchanged

    def ensure_same_schemas(self, changed: Mapping[str, str | None]) -> None:
        """Raise `Refused` for a schema that was changed by hand after the plan was saved."""
        for name, fingerprint in changed.items():
            if self._changed_schemas.get(name) != fingerprint:
                raise self._stale_error(f"the schema of {name}", None)

    def _stale_error(self, part: str, detail: str | None) -> Refused:
        down = "--down " if self.direction is Direction.DOWN else ""
        return Refused(
            f"the plan in {self.path} is stale: {part} changed after it was saved",
            detail=detail,
            hint=f"plan again: circle-migrate plan {down}{' '.join(self.targets)} -o {self.path}",
        )
