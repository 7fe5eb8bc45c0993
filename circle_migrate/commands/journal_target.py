"""Targets of a downgrade from the journals: what was current after a past run, release or point in time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from circle_migrate.commands.log import log
from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.migrate.guards import verify_identity
from circle_migrate.migrate.journal_rows import JournalRun, JournalStep
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.target import downgrade_set, parse

_ALL = 2**31
_HINT = "give a TARGET; or, to list the runs: circle-migrate log -n 1000"


class Moment(NamedTuple):
    """One of: the end of a run (the beginning of its id), of the last run of a release, or a time."""

    run: str | None = None
    release: str | None = None
    time: datetime | None = None

    def __str__(self) -> str:
        if self.time is not None:
            return f"at {self.time.isoformat(' ')}"
        return f"after run {self.run}" if self.run else f"after the last run of release {self.release}"


def parse_time(text: str) -> datetime:
    """Return a time in ISO 8601, in UTC unless it has an offset. Raises `UsageError` for any other text."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time", hint="write for example 2030-12-31T18:00") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


async def targets_at(deployment: Deployment, moment: Moment) -> list[str]:
    """Return the targets of a downgrade to what was current at the moment, one for each database.

    A database that did not take part in the run goes back to the time of its end. Raises `UsageError` for a
    run or release that no journal has, `Refused` where no downgrade leads back to that moment.
    """
    current = verify_identity(deployment, await deployment.states())
    runs = (await log(deployment, _ALL)).runs
    chosen = [] if moment.time else _chosen(runs, moment)
    ends = {run.database: run.ended_at or run.started_at for run in chosen}
    targets = []
    for name in deployment.selected:
        until = moment.time or ends.get(name) or max(ends.values())
        later = [
            step
            for run in reversed(runs)
            for step in run.steps
            if run.database == name
            and (step.direction != "stamp" or run.command == "stamp")  # others record the current revision
            and step.started_at + timedelta(milliseconds=step.duration_ms) > until
        ]
        targets.append(_target(deployment.graphs[name], current[name], later, moment))
    return targets


def _chosen(runs: Sequence[JournalRun], moment: Moment) -> list[JournalRun]:
    """Return the run in each journal that has it; `runs` are newest first."""
    if moment.release:
        done = (run.run for run in runs if run.tool_version == moment.release and run.outcome == "done")
        keys = {next(done, "")} - {""}
    else:
        keys = {run.run for run in runs if run.run.startswith(moment.run or "")}
    if len(keys) == 1:
        return [run for run in runs if run.run in keys]
    what = f"release {moment.release}" if moment.release else f"run {moment.run}"
    raise UsageError(f"{'several runs begin with' if keys else 'no journal has'} the {what}", hint=_HINT)


def _target(graph: Graph, current: tuple[str, ...], later: Sequence[JournalStep], moment: Moment) -> str:
    """Return the target that undoes the `later` steps."""
    first: dict[str, str] = {}
    for step in later:
        first.setdefault(step.revision, step.direction)
    applied = graph.ancestors(current)
    added = {key for key in applied if first.get(key) == "up"}
    for key, squashed in graph.squashes.revisions.items():
        if key in added:
            added.update(squashed.replaces)
        elif key in applied and added.intersection(squashed.replaces):
            added.add(key)
    undone = [key for key, direction in first.items() if direction == "down" and key not in applied]
    rows = graph.version_rows(applied - added)
    target = f"{graph.database}@{rows[0] if rows else 'base'}"
    if any(step.direction == "stamp" for step in later):
        reason = "its version table was stamped since then"
    elif undone:
        reason = f"{', '.join(undone)} was applied then and is not now"
    elif len(rows) > 1 or downgrade_set(graph, current, parse(target, [graph.database])) != added:
        reason = f"it was at {', '.join(rows) or 'base'}, and other branches were begun since then"
    else:
        return target
    raise Refused(
        f"{graph.database} cannot be downgraded to what was current {moment}: {reason}",
        database=graph.database,
        hint=_HINT,
    )
