"""What a plan would do to the live databases, found out by doing it to scratch databases."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Interrupted, MigrateError, Unreachable
from circle_migrate.core.events import Notify, discard
from circle_migrate.core.redaction import redact
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.pool import scratch
from circle_migrate.revision_graph.plan import Plan, Step
from circle_migrate.safety.trace.record import Trace, TracedStatement

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Current, Deployment
    from circle_migrate.safety.trace.recorder import TracingHooks

COMMAND = "safety-check"


async def trace(
    deployment: Deployment,
    plan: Plan,
    *,
    major: int | None,
    notify: Notify = discard,
    hooks: TracingHooks | None = None,
    back: bool = False,
) -> Trace:
    """Run the plan on scratch databases at its current revisions, and say what each statement did.

    `major` is the live servers' major version, None where nobody knows it; `hooks` see more of the run than
    its statements. With `back` an upgrade is undone as well, and what that leaves is compared. The live
    databases are asked for settings and for nothing else.

    A step that fails is part of the answer; what raises is that there is no server for scratch databases
    (`SettingsError`), that it is lost (`Unreachable`), that the current revisions cannot be reached on an
    empty database (`MigrationFailed`), a file that cannot be loaded (`TreeError`) and `Interrupted`.
    """
    async with scratch(deployment, plan.current, major=major) as made:
        notes = list(await _prepare(deployment, made, plan.current))
        there = min(made.majors.values())
        if major not in (None, there):
            notes.append(f"traced on PostgreSQL {there}, as there is no server of version {major} for it")
        hooks, error = await _run(made, plan, notify, hooks)
        if error is None:
            from circle_migrate.safety.trace.round_trip import check_round_trips

            failed = await check_round_trips(made, plan, hooks.catalogues, COMMAND) if back else ()
            return Trace(hooks.statements, (), there, tuple(notes), failed)
        statements, untraced, doubts = _explain(plan, hooks, error)
        return Trace(statements, untraced, there, (*notes, *doubts))


async def _prepare(deployment: Deployment, made: Scratch, current: Current) -> tuple[str, ...]:
    """Give the scratch databases the live ones' settings and current revisions."""
    from circle_migrate.diff.expected.build import upgrade_scratch
    from circle_migrate.safety.trace.copy_settings import copy_settings

    notes: list[str] = []
    for name in current:
        notes += await copy_settings(deployment.databases[name], made.deployment.databases[name])
    graphs = deployment.forest.graphs
    await upgrade_scratch(
        made, {f"{name}@{key}" for name, heads in current.items() for key in graphs[name].ancestors(heads)}
    )
    return tuple(notes)


async def _run(
    made: Scratch, plan: Plan, notify: Notify, hooks: TracingHooks | None
) -> tuple[TracingHooks, MigrateError | None]:
    """Run the plan as far as it gets; the error of the step that ended it."""
    from circle_migrate.migrate.executor import RunOptions, execute
    from circle_migrate.safety.trace.recorder import TracingHooks

    hooks = hooks or TracingHooks()
    options = RunOptions(COMMAND, allow_edited=True, hooks=hooks)

    def remaining(current: Current) -> Plan:
        return replace(plan, current=current, segments=plan.segments[hooks.finished :])

    try:
        await made.run_adding_missing_roles(
            lambda: execute(made.deployment, tuple(plan.current), remaining, notify, options)
        )
    except (Interrupted, Unreachable):
        raise
    except MigrateError as error:
        if hooks.running is None and not hooks.done:
            raise
        return hooks, error
    return hooks, None


def _explain(
    plan: Plan, hooks: TracingHooks, error: MigrateError
) -> tuple[tuple[TracedStatement, ...], tuple[str, ...], tuple[str, ...]]:
    """The statements, untraced revisions and notes of a run that a step has ended.

    A statement that fails is a finding about the plan; an exception of the step's own Python may be one
    about empty tables.
    """
    rest = [
        action.revision.qualified for action in plan.actions[len(hooks.done) :] if isinstance(action, Step)
    ]
    failed = hooks.failure(error)
    if failed is not None:
        return (*hooks.statements, *failed), tuple(rest[1:]), ()
    cause = error.__cause__
    what = error.message if cause is None else f"{type(cause).__name__}: {cause}"
    where = rest[0] if hooks.running is not None else "the end of a transaction"
    place = f" ({error.location})" if error.location else ""
    note = f"{where} was not traced to its end, which may be due to the tables being empty: {what}{place}"
    return hooks.statements, tuple(rest), (redact(" ".join(note.split())),)
