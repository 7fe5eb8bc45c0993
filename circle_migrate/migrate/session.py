"""Sessions that run steps: their settings, a check for poolers, what happens between steps, and a monitor.

The monitor uses a second connection. It detects a lost server, reads which sessions block the running step,
and reads the progress of index builds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from circle_migrate.core.errors import AuthenticationFailed, MigrateError, Refused, SettingsError, Unreachable
from circle_migrate.core.events import EventKind
from circle_migrate.core.redaction import redact_statement
from circle_migrate.migrate.active_run import session_name
from circle_migrate.migrate.half_done import STEP_SETTING
from circle_migrate.postgres.bounded_read import NO_TIMEOUTS
from circle_migrate.postgres.database import APPLICATION_NAME, Database
from circle_migrate.postgres.identifier import setting_value
from circle_migrate.postgres.journal_tables import JOURNAL_SETTING
from circle_migrate.postgres.password_command import MAX_SECONDS
from circle_migrate.postgres.search_path import CONFIGURED, FIRST_SCHEMA, PINNED, SCHEMA_SETTING, SETTING
from circle_migrate.postgres.server_errors import sqlstate
from circle_migrate.postgres.sql_text import compile_pattern, one_line

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.async_connection import AsyncConnection
    from circle_migrate.postgres.simple_protocol import Adapter

_CONNECTION_CHECK_SINCE = 14
CONNECTION_CHECK = "500ms"
"""Interval at which a backend checks that its client exists; by default it finishes its statement first."""

POLL_SECONDS = 0.5
"""Seconds between two queries of the monitor."""

ANSWER_SECONDS = 5.0
"""Seconds that an answer may take before the connection counts as lost."""

_CONNECT_SECONDS = 10.0
"""Seconds that a connection of the monitor may take, for each host, if the URL sets no limit."""

_SETTINGS = {
    # The server ends, within a minute, a session whose client no longer answers.
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "45s",
}

_BLOCKERS = """
SELECT a.pid, a.usename AS role, a.application_name AS application, a.state,
       extract(epoch FROM clock_timestamp() - coalesce(a.query_start, a.xact_start))::float8 AS seconds,
       left(a.query, 500) AS query
FROM unnest(pg_blocking_pids($1)) AS blocking (pid) LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
ORDER BY a.xact_start NULLS LAST
"""

_INDEX_BUILD = """
SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total, lockers_done, lockers_total,
       current_locker_pid
FROM pg_catalog.pg_stat_progress_create_index WHERE pid = $1
"""

_HANDSHAKE = f"""
SELECT pg_backend_pid(), extract(epoch FROM current_setting('lock_timeout')::interval)::float8, {FIRST_SCHEMA}
"""  # noqa: S608 - a constant

_NO_MONITOR = (
    "%s: no second connection to watch the run: %s; the run goes on, but does not say what it waits for,"
    " nor notice a server that no longer answers"
)
_LOG = logging.getLogger("circle_migrate")

_BEGINNING = compile_pattern(rf"^(?:BEGIN;)?SET search_path = .*?;\s*SET {STEP_SETTING} = '[^']*';")
"""What precedes the first statement of a step in its message."""

OnActivity = Callable[[EventKind, str, str], None]
OnLost = Callable[[Unreachable], None]


_SHARED_WRITES = """
SELECT coalesce(sum(pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
                    + pg_stat_get_xact_tuples_deleted(oid)), 0)::bigint
FROM pg_catalog.pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relname IN
    ('pg_authid', 'pg_auth_members', 'pg_database', 'pg_db_role_setting', 'pg_tablespace')
"""

CLUSTER_WIDE = compile_pattern(
    r"\b(?:CREATE|ALTER|DROP)\s+(?:ROLE|USER|GROUP|TABLESPACE|DATABASE|SUBSCRIPTION)\b"
    r"|\bALTER\s+SYSTEM\b|\b(?:DROP|REASSIGN)\s+OWNED\b|\bdblink"
)
"""Statements about the cluster, which may have databases other than the scratch database."""


@dataclass(frozen=True, slots=True)
class Session:
    """A working connection, its adapter and the driver's connection, and the process id of its backend."""

    connection: AsyncConnection
    adapter: Adapter
    driver: asyncpg.Connection
    pid: int


@asynccontextmanager
async def working_session(database: Database, run: str, lock_timeout: float) -> AsyncIterator[Session]:
    """Open a session for steps; `lock_timeout` is in seconds. Raises `SettingsError` behind some poolers."""
    settings = {"lock_timeout": f"{round(lock_timeout * 1000)}ms", **_SETTINGS}
    async with database.working(session_name(run), settings, pinned=True) as connection:
        adapter = cast("Adapter", await connection.adapter())
        driver = adapter.driver
        await driver.execute(NO_TIMEOUTS)
        if driver.get_server_version().major >= _CONNECTION_CHECK_SINCE:
            await driver.execute(f"SET client_connection_check_interval = '{CONNECTION_CHECK}'")
        pid, actual, schema = await driver.fetchrow(_HANDSHAKE)
        connection.dialect.default_schema_name = schema
        await ensure_dedicated_session(database, driver)
        if abs(actual - lock_timeout) > 0.001:
            raise SettingsError(
                f"{database.name}: lock_timeout was set to {lock_timeout:g} s, but is {actual:g} s",
                database=database.name,
                hint="a pooler drops settings; give the server's direct URL for migrations",
            )
        yield Session(connection, adapter, driver, pid)


async def ensure_dedicated_session(database: Database, driver: asyncpg.Connection) -> None:
    """Raise `SettingsError` where a pooler gives our backend to another client between two statements.

    A transaction of a second client shows that: it gets our backend, or moves us to another one. Without a
    pooler, the process id is that of the handshake.
    """
    pid = await driver.fetchval("SELECT pg_backend_pid()")
    if pid == driver.get_server_pid():
        return
    client = await database.connect()
    try:
        async with client.transaction():
            client_pid = await client.fetchval("SELECT pg_backend_pid()")
            present_pid = await driver.fetchval("SELECT pg_backend_pid()")
    finally:
        await client.close()
    if client_pid == pid or present_pid != pid:
        raise SettingsError(
            f"{database.name}: {database.address.display()} is a pooler in transaction mode, "
            "which keeps neither locks nor settings of a session",
            database=database.name,
            state="nothing was changed",
            hint="give the server's direct URL for migrations, or a pool in session mode",
        )


@asynccontextmanager
async def monitor(
    database: Database, session: Session, on_activity: OnActivity, on_lost: OnLost
) -> AsyncIterator[None]:
    """Monitor a session while the block runs.

    `on_activity(kind, database, text)` is called when the session starts or stops to wait or to build an
    index; `on_lost` when the server does not answer in time and accepts no new connection.
    """
    task = asyncio.create_task(_monitor(database, session, on_activity, on_lost))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _monitor(database: Database, session: Session, on_activity: OnActivity, on_lost: OnLost) -> None:
    connection: asyncpg.Connection | None = None
    last = (EventKind.WORKING, "")
    has_watched = has_warned = False
    limit = (database.address.connect_timeout or _CONNECT_SECONDS) * len(database.address.endpoints)
    limit += MAX_SECONDS if database.address.password_command else 0
    try:
        while True:
            if connection is None:
                try:
                    async with asyncio.timeout(limit + 1):
                        connection = await database.connect(f"{APPLICATION_NAME} watch")
                except (MigrateError, TimeoutError) as error:
                    reason = error.detail or error.message if isinstance(error, MigrateError) else None
                    # A server that refuses another connection is not lost, nor is one without a password.
                    is_refused = sqlstate(error) is not None or isinstance(error, AuthenticationFailed)
                    if has_watched and not is_refused:
                        session.driver.terminate()
                        on_lost(_lost_connection_error(database, reason))
                        return
                    if not has_warned:
                        _LOG.warning(_NO_MONITOR, database.name, reason or "no answer")
                    has_warned = True
            await asyncio.sleep(POLL_SECONDS if connection is not None else ANSWER_SECONDS)
            if connection is None:
                continue
            has_watched = True
            try:
                # Not wait_for: in Python 3.11 it drops a cancellation that coincides with a lost server.
                async with asyncio.timeout(ANSWER_SECONDS):
                    activity = await _poll(connection, session.pid)
            except Exception:  # noqa: BLE001 - perhaps only this connection is lost
                connection.terminate()
                connection = None
                continue
            if activity != last:
                on_activity(activity[0], database.name, activity[1])
            last = activity
    finally:
        if connection is not None:
            connection.terminate()


def _lost_connection_error(database: Database, detail: str | None) -> Unreachable:
    return Unreachable(
        f"{database.name}: the server no longer answers",
        database=database.name,
        detail=detail,
        hint="when the server is back, type `circle-migrate current` to see the current revisions",
    )


async def _poll(connection: asyncpg.Connection, pid: int) -> tuple[EventKind, str]:
    rows = await connection.fetch(_BLOCKERS, pid)
    if rows:
        return EventKind.WAITING, "for " + "; ".join(_blocker(row) for row in rows[:3])
    row = await connection.fetchrow(_INDEX_BUILD, pid)
    return (EventKind.BUILDING, _progress(row)) if row is not None else (EventKind.WORKING, "")


def _blocker(row: asyncpg.Record) -> str:
    if row["pid"] in (0, None):
        return "a prepared transaction"
    application = row["application"] or "no application name"
    session = f"pid {row['pid']} ({row['role'] or '?'}, {application}, {row['state'] or '?'})"
    age = f" for {row['seconds']:.0f} s" if row["seconds"] is not None else ""
    query = one_line(redact_statement(_BEGINNING.sub("", row["query"] or "")), 120)
    return f"{session}{age}: {query}" if query else session + age


def _progress(row: asyncpg.Record) -> str:
    for kind in ("blocks", "tuples", "lockers"):
        done, total = row[f"{kind}_done"], row[f"{kind}_total"]
        if total:
            return f"the index: {row['phase']}, {done} of {total} {kind}"
    return f"the index: {row['phase']}"


_OWN_SETTINGS = f"""
SELECT name::text, setting::text FROM pg_catalog.pg_settings WHERE source = 'session'
UNION ALL SELECT name, current_setting(name)
FROM unnest(ARRAY['{SETTING}', '{SCHEMA_SETTING}', '{JOURNAL_SETTING}']) name ORDER BY 1
"""  # noqa: S608 - constants

_HAS_DEFERRABLE = "SET statement_timeout = 0; SELECT FROM pg_catalog.pg_trigger WHERE tgdeferrable LIMIT 1"

# Names are qualified, as the query runs under the settings of the step.
_DEFERRABLE = """
SELECT pg_catalog.string_agg(name, ', '), pg_catalog.string_agg(name, ', ') FILTER (WHERE deferred)
FROM (
    SELECT pg_catalog.format('%I.%I', n.nspname, c.conname) AS name,
           pg_catalog.bool_or(c.condeferred) AS deferred
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.connamespace
    WHERE c.condeferrable AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    GROUP BY 1
) constraints
"""


async def check_constraints(driver: asyncpg.Connection, *, before_commit: bool) -> bool:
    """Check deferred constraints, whose pending events would refuse the next ALTER of their table.

    Triggers see the settings of the session, without its time limit; `before_commit`, when those of the steps
    have ended, they see the configured path. Afterwards each constraint is deferred exactly if it is so
    initially. `SET CONSTRAINTS ALL` would change also constraints that are created later in the transaction;
    `before_commit` there are none, and it checks also those of schemas that the role may not name.
    Returns whether there may be constraints to check after other steps.
    """
    if before_commit:
        await driver.execute(f"{CONFIGURED}; SET CONSTRAINTS ALL IMMEDIATE; {PINNED}")
        return True
    if await driver.execute(_HAS_DEFERRABLE) == "SELECT 0":
        return False
    checked, deferred = await driver.fetchrow(_DEFERRABLE)
    if checked is not None:
        text = f"; SET CONSTRAINTS {deferred} DEFERRED" if deferred is not None else ""
        await driver.execute(f"SET CONSTRAINTS {checked} IMMEDIATE{text}")
    return True


async def step_settings(database: Database, driver: asyncpg.Connection) -> tuple[str, str]:
    """Return the text that sets the configured path, and that which resets role and settings to those now.

    Settings of extensions and roles are not in the view, so those of the URL are set, too.
    """
    own = dict(map(tuple, await driver.fetch(_OWN_SETTINGS)))
    begin = f"SET search_path = {setting_value('search_path', own[SETTING])}"
    values = {**database.address.session_settings, **own}
    sets = [f"SET {name} = {setting_value(name, value)}" for name, value in values.items()]
    # A step may have set a time limit that is too short even for these statements.
    resets = ["SET statement_timeout = 0", "RESET SESSION AUTHORIZATION", "RESET ROLE", "RESET ALL"]
    return begin, "; ".join([*resets, *sets])


async def ensure_server_unchanged(driver: asyncpg.Connection, database: str) -> None:
    """Raise `Refused` if the transaction has changed roles, databases or tablespaces of the server."""
    if await driver.fetchval(_SHARED_WRITES):
        raise _shared_server_error(database)


def ensure_not_cluster_wide(connection: Connection, database: str) -> None:
    """Let the connection raise `Refused` for a statement about the cluster that commits by itself."""
    from sqlalchemy import event

    def before(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        commits = getattr(connection.connection.dbapi_connection, "autocommit", False)
        if commits and CLUSTER_WIDE.search(statement):
            raise _shared_server_error(database)

    event.listen(connection, "before_cursor_execute", before)


def _shared_server_error(database: str) -> Refused:
    return Refused(
        f"{database}: the step changes roles, databases or tablespaces, and the server of the scratch "
        "databases is that of a live database",
        database=database,
        hint="use another server for scratch databases: pip install 'circle-migrate[embedded]' for a "
        "temporary one, or --scratch-url URL",
    )
