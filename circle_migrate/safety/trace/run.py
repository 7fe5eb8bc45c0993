"""Trace a plan: run it on scratch databases and record what each statement does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Interrupted, MigrateError, Unreachable
from circle_migrate.core.events import Notify, ignore_event
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

        notes = [*problems, *databases.notes]
        applied: set[str] = set()
        for name, heads in plan.current.items():
            applied |= {f"{name}@{key}" for key in deployment.combined_graph.graphs[name].ancestors(heads)}
        await upgrade_scratch(databases, applied)
        scratch_major = min(databases.majors.values())
        if major not in (None, scratch_major):
            reason = f"because no server of version {major} is available"
            notes.append(f"traced on PostgreSQL {scratch_major}, {reason}")
        hooks, error = await _run(databases, plan, notify, make_hooks)
        if error is not None:
            statements, untraced, reasons = _explain(plan, hooks, error)
            return Trace(statements, untraced, scratch_major, (*notes, *reasons))
        from circle_migrate.safety.trace.round_trip import check_round_trips

        issues = await check_round_trips(databases, plan, hooks.catalogs, COMMAND) if round_trips else {}
        return Trace(hooks.statements, (), scratch_major, tuple(notes), issues)


def _import_alembic() -> None:
    """Import what runs revisions, with Alembic and SQLAlchemy."""
    from circle_migrate.migrate import executor  # noqa: F401
    from circle_migrate.safety.trace import recorder  # noqa: F401


async def _run(
    databases: Scratch, plan: Plan, notify: Notify, make_hooks: Callable[[], TraceHooks] | None
) -> tuple[TraceHooks, MigrateError | None]:
    """Run the plan; return the error of the step that fails, if one does."""
    from circle_migrate.migrate.executor import RunOptions, execute
    from circle_migrate.safety.trace.recorder import TraceHooks

    hooks = (make_hooks or TraceHooks)()
    options = RunOptions(COMMAND, allow_edited=True, hooks=hooks)

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
