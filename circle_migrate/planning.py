"""Plans on their own: shown, saved to a file, and refused later where anything has changed since."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from circle_migrate import __version__
from circle_migrate.core.moves import Planned, plan_dict
from circle_migrate.core.plan import Direction, Plan, Step
from circle_migrate.deployment import Current, Deployment
from circle_migrate.errors import Refused, UsageError
from circle_migrate.guards import refuse_in_doubt

_FORM = 1


async def plan(
    deployment: Deployment, targets: Sequence[str], direction: Direction, *, cascade: bool = False
) -> Planned:
    """What an upgrade or downgrade to the targets would do now; nothing is changed and no lock taken."""
    names = deployment.within_reach(direction)
    states = await deployment.states(names)
    current = deployment.recognise(states)
    refuse_in_doubt(states)
    made = planner(deployment, targets, direction, cascade=cascade)(current)
    return Planned("plan", made, mode(deployment))


def planner(
    deployment: Deployment, targets: Sequence[str], direction: Direction, *, cascade: bool = False
) -> Callable[[Current], Plan]:
    """The function from current revisions to a plan for these targets."""

    def planned(current: Current) -> Plan:
        if direction is Direction.UP:
            return deployment.plan_upgrade(current, targets, deployment.grouping)
        return deployment.plan_downgrade(current, targets, deployment.grouping, cascade=cascade)

    return planned


def offline(deployment: Deployment, texts: Sequence[str], direction: Direction) -> Plan:
    """The plan for spans `FROM:TO`, which needs no server. Raises `UsageError` for what is none."""
    from circle_migrate.core import targets

    lows, highs = [], []
    for text in texts:
        low, colon, high = text.rpartition(":")
        if not colon or not low or not high:
            raise UsageError(f"{text!r} is not a span", hint="write FROM:TO, for example base:head")
        database = targets.parse(low, deployment.databases).database
        if database and targets.parse(high, deployment.databases).database is None:
            high = f"{database}@{high}"
        lows.append(low)
        highs.append(high)
    graphs = deployment.graphs
    current = _of_the_others(deployment, direction)
    for name, target in targets.assign(lows, graphs).items():
        current[name] = graphs[name].tips(targets.claimed(graphs[name], (), target))
    if direction is Direction.DOWN:
        return deployment.plan_downgrade(current, highs, deployment.grouping)
    plan = deployment.plan_upgrade(current, highs, deployment.grouping)
    for name, target in targets.assign(highs, graphs).items():
        reached = graphs[name].tips(targets.claimed(graphs[name], current[name], target))
        if name not in plan.databases and set(reached) != set(current[name]):
            raise UsageError(
                f"{name}: no upgrade leads through {' '.join(texts)}",
                database=name,
                hint="for the way back: circle-migrate downgrade FROM:TO --sql",
            )
    return plan


def _of_the_others(deployment: Deployment, direction: Direction) -> dict[str, tuple[str, ...]]:
    """What databases without a span are taken to be at: where nothing in them stands in the way."""
    if direction is Direction.UP:
        return {name: graph.real_heads for name, graph in deployment.forest.graphs.items()}
    return dict.fromkeys(deployment.databases, ())


def agreeing(
    saved: Saved | None, deployment: Deployment, planned: Callable[[Current], Plan]
) -> Callable[[Current], Plan]:
    """The planner, refusing to plan anything but what was saved."""

    def agreed(current: Current) -> Plan:
        made = planned(current)
        if saved is not None:
            saved.refuse_changed(made, mode(deployment))
        return made

    return agreed


def mode(deployment: Deployment) -> str:
    """How a segment over several databases is committed."""
    return "atomic" if deployment.settings.atomic else "serial"


def save(
    planned: Planned, targets: Sequence[str], direction: Direction, path: Path, *, cascade: bool = False
) -> None:
    """Write a plan to a file. Raises `UsageError` where it cannot be written."""
    saved = {
        "circle_migrate_plan": _FORM,
        "tool_version": __version__,
        "direction": str(direction),
        "targets": list(targets),
        "cascade": cascade,
        **_comparable(planned.plan, planned.mode),
    }
    try:
        path.write_text(json.dumps(saved, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written", detail=error.strerror) from error


def _comparable(made: Plan, how: str) -> dict[str, Any]:
    """What must still be the same when a saved plan is applied; where files lie is not part of it."""
    shown = plan_dict(made)
    for segment in shown["segments"]:
        for step in segment["steps"]:
            step.pop("file", None)
    checksums = {
        action.revision.qualified: action.revision.checksum
        for action in made.actions
        if isinstance(action, Step)
    }
    return {"mode": how, "plan": shown, "checksums": checksums}


class Saved:
    """A plan from a file. Raises `UsageError` at construction where the file is not one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if self.content["circle_migrate_plan"] != _FORM:
                raise UsageError(f"{path} is a plan of another version of circle-migrate", hint="plan again")
            self.direction = Direction(self.content["direction"])
            self.targets: list[str] = self.content["targets"]
            self.cascade = bool(self.content["cascade"])
        except OSError as error:
            raise UsageError(f"{path} cannot be read", detail=error.strerror) from error
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} is not a saved plan", hint="`circle-migrate plan -o FILE` writes one"
            ) from error

    def refuse_changed(self, made: Plan, how: str) -> None:
        """Raise `Refused` with what is different where the plan made now is not the saved one."""
        now = _comparable(made, how)
        for what, then_, now_ in (
            ("the current revisions", self.content["plan"]["current"], now["plan"]["current"]),
            ("the files of its revisions", self.content["checksums"], now["checksums"]),
            ("the commit mode", self.content["mode"], now["mode"]),
            ("the steps", self.content["plan"], now["plan"]),
        ):
            if then_ != now_:
                raise Refused(
                    f"the plan in {self.path} is stale: {what} have changed since",
                    detail=f"then {json.dumps(then_)[:300]}, now {json.dumps(now_)[:300]}",
                    state="nothing was changed",
                    hint=f"look at what it would do now: circle-migrate plan {' '.join(self.targets)}",
                )
