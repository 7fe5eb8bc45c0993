"""Trace a plan: run it on scratch databases and record what each statement does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Interrupted, MigrateError, Unreachable
from circle_migrate.core.events import Event, Notify, ignore_event
from circle_migrate.core.redaction import redact
from circle_migrate.core.shield import in_thread
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.live_settings import read_settings
from circle_migrate.postgres.scratch.pool import scratch_databases
from circle_migrate.postgres.server_errors import server_message
from circle_migrate.revision_graph.plan import Plan, Step
from circle_migrate.safety.trace.record import Trace, TracedStatement

if TYPE_CHECKING:
    from circle_migrate.migrate.run import Hooks
    from circle_migrate.safety.trace.recorder import TraceHooks

COMMAND = "safety-check"


async def trace_plan(
    deployment: Deployment,
    plan: Plan,
    *,
    major: int | None,
    notify: Notify = ignore_event,
    make_hooks: Callable[[], TraceHooks] | None = None,
    round_trips: bool = False,
) -> Trace:
    """Run the plan on scratch databases at its current revisions and return what each statement did.

    `major` is the major version of the live servers, None if unknown; hooks may observe more of the run.
    With `round_trips` the downgrades of an upgrade run, too, and the catalogs are compared. Of the live
    databases only settings are read. The trace has the errors of failing steps. Raises `SettingsError`
    without a server for scratch databases, `Unreachable` if it is lost, `MigrationFailed` if the current
    revisions cannot be reached on an empty database, `TreeError` for a revision file that cannot be loaded,
    and `Interrupted`.
    """
    settings, problems = await read_settings(deployment.databases[name] for name in plan.current)
    scratch = scratch_databases(deployment, plan.current, major=major, live_settings=settings)
    importing = asyncio.create_task(in_thread(_import_alembic))  # while the server starts
    async with scratch as databases:
        await importing
        from circle_migrate.diff.expected.expected import upgrade_scratch
        from circle_migrate.migrate.independence import are_independent, run_at_once
        from circle_migrate.migrate.run import Hooks

        notes = [*problems, *databases.notes]
        applied: set[str] = set()
        for name, heads in plan.current.items():
            applied |= {f"{name}@{key}" for key in deployment.combined_graph.graphs[name].ancestors(heads)}
        await upgrade_scratch(databases, applied)
        scratch_major = min(databases.majors.values())
        if major not in (None, scratch_major):
            reason = f"because no server of version {major} is available"
            notes.append(f"traced on PostgreSQL {scratch_major}, {reason}")
        trace = partial(_trace, databases, notify=notify, make_hooks=make_hooks, round_trips=round_trips)
        revisions = [action.revision.qualified for action in plan.actions if isinstance(action, Step)]
        if make_hooks is None and are_independent(deployment.combined_graph, revisions):
            traces = await run_at_once(partial(trace, plan, part=name) for name in plan.databases)
        else:
            traces = [await trace(plan, Hooks())]
        return _merge(plan, traces, scratch_major, notes)


def _merge(plan: Plan, traces: Sequence[Trace], scratch_major: int, notes: Sequence[str]) -> Trace:
    """Return the traces of several databases as one, in the order of the plan."""
    order = {
        action.revision.qualified: n for n, action in enumerate(plan.actions) if isinstance(action, Step)
    }
    statements = (statement for trace in traces for statement in trace.statements)
    untraced = (revision for trace in traces for revision in trace.untraced)
    return Trace(
        tuple(sorted(statements, key=lambda statement: order[statement.qualified])),
        tuple(sorted(untraced, key=order.__getitem__)),
        scratch_major,
        (*notes, *(note for trace in traces for note in trace.notes)),
        {revision: issue for trace in traces for revision, issue in trace.round_trip_issues.items()},
    )


async def _trace(
    databases: Scratch,
    plan: Plan,
    turn: Hooks,
    *,
    part: str | None = None,
    notify: Notify,
    make_hooks: Callable[[], TraceHooks] | None,
    round_trips: bool,
) -> Trace:
    """Trace the plan, or the `part` that is of one database."""
    from circle_migrate.safety.trace.round_trip import check_round_trips

    major = min(databases.majors.values())
    if part is not None:
        numbers = [0, *(n for n, action in enumerate(plan.actions, 1) if action.database == part)]
        total = len(plan.actions)
        whole = notify

        def notify(event: Event) -> None:
            """Count the steps of the whole plan."""
            whole(event._replace(number=numbers[event.number], total=total) if event.total else event)

        plan = plan.part(part)
    hooks, error = await _run(databases, plan, turn, notify, make_hooks)
    if error is not None:
        statements, untraced, reasons = _explain(plan, hooks, error)
        return Trace(statements, untraced, major, reasons)
    issues = await check_round_trips(databases, plan, hooks.catalogs, COMMAND, turn) if round_trips else {}
    return Trace(hooks.statements, (), major, (), issues)


def _import_alembic() -> None:
    """Import what runs revisions, with Alembic and SQLAlchemy."""
    from circle_migrate.migrate import executor  # noqa: F401
    from circle_migrate.safety.trace import recorder  # noqa: F401


async def _run(
    databases: Scratch,
    plan: Plan,
    turn: Hooks,
    notify: Notify,
    make_hooks: Callable[[], TraceHooks] | None,
) -> tuple[TraceHooks, MigrateError | None]:
    """Run the plan; return the error of the step that fails, if one does."""
    from circle_migrate.migrate.executor import RunOptions, execute
    from circle_migrate.migrate.run import Hooks
    from circle_migrate.safety.trace.recorder import TraceHooks

    hooks = (make_hooks or TraceHooks)()
    options = RunOptions(COMMAND, allow_edited=True, hooks=Hooks(turn, hooks))

    def remaining(current: Current) -> Plan:
        return replace(plan, current=current, segments=plan.segments[hooks.committed_segments :])

    try:
        await databases.run_adding_missing_roles(
            lambda: execute(databases.deployment, tuple(plan.current), remaining, notify, options)
        )
    except (Interrupted, Unreachable):
        raise
    except MigrateError as error:
        if hooks.running is None and not hooks.completed:
            raise
        return hooks, error
    return hooks, None


def _explain(
    plan: Plan, hooks: TraceHooks, error: MigrateError
) -> tuple[tuple[TracedStatement, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the statements, untraced revisions and notes of a run that ended at a step."""
    done = len(hooks.completed) - (hooks.running is None)
    rest = [action.revision.qualified for action in plan.actions[done:] if isinstance(action, Step)]
    failed = hooks.failure(error)
    if failed is not None:
        return (*hooks.statements, *failed), tuple(rest[1:]), ()
    cause = error.__cause__
    reason = error.message if cause is None else f"{type(cause).__name__}: {server_message(cause)}"
    subject = rest[0] if rest else "a commit"
    location = f" ({error.location})" if error.location else ""
    note = f"{subject} was not traced to its end, perhaps because the tables are empty: {reason}{location}"
    return hooks.statements, tuple(rest), (" ".join(redact(note).split()),)
