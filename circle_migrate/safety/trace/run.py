"""Trace a plan: run it on scratch databases and record what each statement does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg

from circle_migrate.core.errors import Interrupted, MigrateError, Unreachable
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.core.redaction import redact
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.postgres.identifier import literal, quote
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.pool import scratch_databases
from circle_migrate.postgres.server_errors import server_message
from circle_migrate.revision_graph.plan import Plan, Step
from circle_migrate.safety.trace.record import Trace, TracedStatement

if TYPE_CHECKING:
    from circle_migrate.safety.trace.recorder import TraceHooks

COMMAND = "safety-check"
# Settings of the server that affect work, and all that the database, the role or the URL sets. Excluded are
# settings of our own sessions, logging, timeouts, roles, and libraries that the scratch server may lack.
_SETTINGS = """
SELECT name, current_setting(name) AS value
FROM pg_catalog.pg_settings
WHERE name IN ('TimeZone', 'DateStyle', 'IntervalStyle', 'default_tablespace', 'default_table_access_method')
   OR (source IN ('database', 'user', 'database user', 'session') AND context IN ('user', 'superuser')
       AND name <> 'search_path' AND name NOT LIKE '%timeout' AND name NOT LIKE 'log\\_%'
       AND name NOT LIKE 'ssl%' AND name NOT LIKE '%libraries' AND name <> ALL (ARRAY[
           'application_name', 'client_encoding', 'client_min_messages', 'default_transaction_read_only',
           'transaction_read_only', 'transaction_isolation', 'transaction_deferrable', 'role',
           'session_authorization', 'session_replication_role', 'track_counts',
           'client_connection_check_interval'
       ]))
"""
_EXISTS = {
    "default_tablespace": "SELECT bool_or($1::text IN ('', spcname::text)) FROM pg_catalog.pg_tablespace",
    "default_table_access_method": "SELECT EXISTS (SELECT FROM pg_catalog.pg_am WHERE amname::text = $1)",
}


async def trace_plan(
    deployment: Deployment,
    plan: Plan,
    *,
    major: int | None,
    notify: Notify = ignore_event,
    hooks: TraceHooks | None = None,
    round_trips: bool = False,
) -> Trace:
    """Run the plan on scratch databases at its current revisions and return what each statement did.

    `major` is the major version of the live servers, None if unknown; `hooks` may observe more of the run.
    With `round_trips` the downgrades of an upgrade run, too, and the catalogs are compared. Of the live
    databases only settings are read. The trace has the errors of failing steps. Raises `SettingsError`
    without a server for scratch databases, `Unreachable` if it is lost, `MigrationFailed` if the current
    revisions cannot be reached on an empty database, `TreeError` for a revision file that cannot be loaded,
    and `Interrupted`.
    """
    from circle_migrate.diff.expected.expected import upgrade_scratch

    async with scratch_databases(deployment, plan.current, major=major) as databases:
        notes: list[str] = []
        applied: set[str] = set()
        for name, heads in plan.current.items():
            notes += await copy_settings(deployment.databases[name], databases.deployment.databases[name])
            applied |= {f"{name}@{key}" for key in deployment.combined_graph.graphs[name].ancestors(heads)}
        await upgrade_scratch(databases, applied)
        scratch_major = min(databases.majors.values())
        if major not in (None, scratch_major):
            reason = f"because no server of version {major} is available"
            notes.append(f"traced on PostgreSQL {scratch_major}, {reason}")
        hooks, error = await _run(databases, plan, notify, hooks)
        if error is not None:
            statements, untraced, reasons = _explain(plan, hooks, error)
            return Trace(statements, untraced, scratch_major, (*notes, *reasons))
        from circle_migrate.safety.trace.round_trip import check_round_trips

        issues = await check_round_trips(databases, plan, hooks.catalogs, COMMAND) if round_trips else {}
        return Trace(hooks.statements, (), scratch_major, tuple(notes), issues)


async def _run(
    databases: Scratch, plan: Plan, notify: Notify, hooks: TraceHooks | None
) -> tuple[TraceHooks, MigrateError | None]:
    """Run the plan; return the error of the step that fails, if one does."""
    from circle_migrate.migrate.executor import RunOptions, execute
    from circle_migrate.safety.trace.recorder import TraceHooks

    hooks = hooks or TraceHooks()
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


async def copy_settings(live: Database, scratch: Database) -> tuple[str, ...]:
    """Copy settings, without the search_path, which both have; return notes about those that failed."""
    if live.settings.url is None:
        return (f"{live.name}: TimeZone and other settings were not copied, because the database has no URL",)
    try:
        async with live.reading() as connection:
            rows = await connection.fetch(_SETTINGS)
    except MigrateError as error:
        reason = error.detail or error.message
        return (f"{live.name}: TimeZone and other settings could not be read: {reason}",)
    async with scratch.connected() as connection:
        problems = [await _set(connection, scratch, row["name"], row["value"]) for row in rows]
    return tuple(f"{live.name}: {problem}" for problem in problems if problem is not None)


async def _set(connection: asyncpg.Connection, scratch: Database, name: str, value: str) -> str | None:
    """Set a setting of the database; return the problem if that is not possible."""
    if name in _EXISTS and not await connection.fetchval(_EXISTS[name], value):
        return f"the scratch database has no {name} {value}"
    target = quote(scratch.address.database)
    try:
        await connection.execute(f"ALTER DATABASE {target} SET {name} = {literal(value)}")
    except asyncpg.PostgresError as error:
        return f"{name} could not be set on the scratch database: {server_message(error)}"
    return None
