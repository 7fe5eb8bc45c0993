"""Errors of a failed or interrupted run: the step, the server's message, the revisions, and what stays."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from circle_migrate.core import errors
from circle_migrate.core.counted import counted
from circle_migrate.core.redaction import MASK, redact_quotation, redact_statement
from circle_migrate.indexes import plain_names
from circle_migrate.migrate.half_done import STEP_SETTING, describe_half_done, half_done, remedy_of_half_done
from circle_migrate.migrate.run import MigrationRun, describe, describe_current_revisions
from circle_migrate.postgres import server_errors
from circle_migrate.postgres.sql_text import mentions, one_line, without_comments_and_literals
from circle_migrate.revision_graph.modules import failing_line, missing_package_hint
from circle_migrate.revision_graph.plan import Action, Direction, Segment, Step

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.migrate.alembic_adapter.context import Transcript
    from circle_migrate.postgres.database import State
    from circle_migrate.postgres.journal_tables import UnfinishedStep

_CHANGES_NOTHING = re.compile(
    r"\s*(?:abort|analyze|begin|checkpoint|close|commit|deallocate|declare|discard|end|explain|fetch|listen|load"
    r"|lock|move|prepare|release|reset|rollback|savepoint|set|show|start|table|unlisten|vacuum|values)\b",
    re.IGNORECASE,
)
_READS = re.compile(r"\W*(?:select|with)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(?:delete|insert|into|merge|(?<!for )(?<!key )update)\b", re.IGNORECASE)
_CALLS = re.compile(r"(\w+)\s*\(")

_IS_VOLATILE = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_proc
    WHERE proname = ANY ($1::text[]) AND provolatile = 'v' AND pronamespace <> 'pg_catalog'::regnamespace
)
"""

_INVALID = """
SELECT pg_catalog.format('%I.%I', namespace.nspname, named.relname),
       named.relname::text, of_table.relname::text
FROM pg_catalog.pg_index AS index
JOIN pg_catalog.pg_class AS named ON named.oid = index.indexrelid
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = named.relnamespace
JOIN pg_catalog.pg_class AS of_table ON of_table.oid = index.indrelid
WHERE NOT index.indisvalid
ORDER BY 1
"""

_SHOWN, _LENGTH = 5, 100
_ANSWER_SECONDS = 2.0
"""Seconds in which a server must answer, so that a run that was interrupted or lost a server ends soon."""

_MAX_STATEMENT_LENGTH, _MAX_MESSAGE_LENGTH, _MAX_REDACTED_LENGTH = 300, 2000, 50_000


class StepFailedError(Exception):
    """An action raised `error`; its transaction is still open unless the connection `is_lost`."""

    def __init__(self, run: MigrationRun, action: Action, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.action = action
        self.error = error
        self.is_lost = run.sessions[action.database].driver.is_closed()


async def remaining_changes(run: MigrationRun, database: str) -> tuple[str, ...]:
    """Return the statements and INVALID indexes that a failed step leaves after its rollback."""
    run.stays = ()
    transcript = run.runners[database].transcript
    if transcript is None:
        return ()
    driver = run.sessions[database].driver
    connection: asyncpg.Connection | None = None
    async with AsyncExitStack() as stack:
        with suppress(Exception):  # the server may be lost
            async with asyncio.timeout(_ANSWER_SECONDS):
                if driver.is_closed():
                    transcript.unknown = transcript.ended + transcript.unknown
                    new_connection = run.deployment.databases[database].connected()
                    connection = await stack.enter_async_context(new_connection)
                elif key := await driver.fetchval(f"SELECT current_setting('{STEP_SETTING}', true)"):
                    unwatched = [f"what {key} has committed on the driver's connection"]
                    transcript.committed = transcript.ended + transcript.committed or unwatched
                connection = connection or driver
        transcript.ended = []
        run.stays = await _remaining_changes(connection, transcript)
    return run.stays


async def _remaining_changes(
    connection: asyncpg.Connection | None, transcript: Transcript
) -> tuple[str, ...]:
    stays = [text for text in transcript.committed if await _changes_something(connection, text)]
    texts = [one_line(redact_statement(text), _LENGTH) for text in stays[:_SHOWN]]
    if len(stays) > _SHOWN:
        texts.append(f"{len(stays) - _SHOWN} more")
    unknown = [text for text in transcript.unknown if await _changes_something(connection, text)]
    texts += [f"perhaps {one_line(redact_statement(text), _LENGTH)}" for text in unknown]
    if connection is not None and "concurrently" in transcript.failing.lower():
        sql = plain_names(transcript.failing).replace('""', '"')
        for index, name, table in await connection.fetch(_INVALID):
            if name.lower() in sql.lower() or mentions(sql, table):
                texts.append(f"the INVALID index {index}")
    return tuple(texts)


async def _changes_something(connection: asyncpg.Connection | None, sql: str) -> bool:
    """Return whether a statement may change something; without a connection its functions are not known."""
    text = without_comments_and_literals(sql)
    if not _READS.match(text):
        return not _CHANGES_NOTHING.match(text)
    if _WRITES.search(text):
        return True
    functions = [name.lower() for name in _CALLS.findall(text) if not name.lower().startswith("pg_")]
    return bool(functions) and (
        connection is None or bool(await connection.fetchval(_IS_VOLATILE, functions))
    )


async def step_error(
    run: MigrationRun, action: Action, error: Exception, *, is_lost: bool = False
) -> errors.MigrateError:
    """Return the error for an action that raised and was rolled back; `is_lost`: its connection is lost."""
    message = f"{action.database}: {describe(action)} failed"
    stays = await remaining_changes(run, action.database)
    if isinstance(error, errors.MigrateError) and not stays:
        return error
    failure = server_errors.statement_error(error, action.database, "run the step")
    if isinstance(action, Step) and (stays or (not (failure or is_lost) and _earlier_attempt(run, action))):
        return _half_applied_error(run, action, error, stays, await describe_current_revisions(run))
    failure = failure or errors.MigrationFailed(message)
    if limit := _exceeded_limit(run, action, error):
        message += f": a statement took longer than {limit}"
        failure.hint = (
            "make the statement faster, or let it take longer: --statement-timeout SECONDS (0 for no limit),"
            " or in the revision op.execute(\"SET statement_timeout = '10min'\") before it; then run the same"
            " command again"
        )
    failure.message, cause = message, _cause(error, _removed_table(run, action, error))
    transcript = run.runners[action.database].transcript
    if isinstance(failure, errors.NotWritable) and transcript and transcript.read_only:
        hint = "remove that statement: the version row is written in the same transaction"
        failure = errors.MigrationFailed(message, hint=hint)
        cause += f"; read-only by: {one_line(redact_statement(transcript.read_only), _LENGTH)}"
    if is_lost:
        message = f"{action.database}: {describe(action)} has lost its connection"
        failure = errors.Unreachable(message, hint=server_errors.AFTER_LOSS)
        if transcript and transcript.ends_session:
            setting = one_line(redact_statement(transcript.ends_session), _LENGTH)
            cause = f"the server may have ended the session by the limit of: {setting}; {cause}"
            failure.hint = "remove that statement or let the limit be longer, then run the same command again"
    failure.database = action.database
    failure.detail = cause
    if isinstance(action, Step):
        failure.location = failing_line(action.revision, error)
    failure.state = await describe_current_revisions(run)
    if isinstance(failure, errors.MissingPrivilege):
        role = (transcript and transcript.role) or run.states[action.database].role
        failure.hint = server_errors.privilege_hint(server_errors.server_message(error), role)
    failure.hint = (
        failure.hint
        or server_errors.statement_hint(error)
        or missing_package_hint(error)
        or "correct the cause and run the same command again"
    )
    return failure


def _half_applied_error(
    run: MigrationRun, step: Step, error: Exception, stays: Sequence[str], state: str
) -> errors.HalfApplied:
    parts: list[str | None] = [_cause(error, _removed_table(run, step, error))]
    parts.append(run.blockers.get(step.database) if is_lock_conflict(error) else None)
    if limit := _exceeded_limit(run, step, error):
        parts.append(f"the limit of a statement is {limit}")
    if isinstance(error, errors.MigrateError):
        parts = [error.message, error.detail, error.hint]
    key, graph = step.revision.id, run.deployment.combined_graph.graphs[step.database]
    is_downgrade = step.direction is Direction.DOWN
    what = "a part of it" if stays else "a part of it by an earlier run"
    if stays:
        state += f"; {key} is half {'undone' if is_downgrade else 'applied'}, these stay: {'; '.join(stays)}"
    if earlier := _earlier_attempt(run, step):
        state += f"; {describe_half_done(earlier)}"
    return errors.HalfApplied(
        f"{step.database}: {describe(step)} failed after {what} was committed",
        database=step.database,
        detail="; ".join(filter(None, parts)),
        location=failing_line(step.revision, error),
        state=state,
        hint=remedy_of_half_done(graph, run.current[step.database], key, is_downgrade=is_downgrade),
    )


def _earlier_attempt(run: MigrationRun, step: Step) -> UnfinishedStep | None:
    """Return what earlier runs have left of the step."""
    steps = half_done(run.deployment.combined_graph.graphs[step.database], run.states[step.database])
    return steps.get((step.revision.id, step.direction))


async def not_recorded_error(run: MigrationRun, action: Action) -> errors.HalfApplied:
    """Return the error for a step without transaction whose version row was not committed."""
    run.stays = ("all of its statements",)
    reached: tuple[str, ...] = ()
    if isinstance(action, Step):
        is_upgrade = action.direction is Direction.UP
        reached = (action.revision.id,) if is_upgrade else action.revision.down_revisions
    targets = " ".join(f"{action.database}@{key}" for key in reached or ("base",))
    return errors.HalfApplied(
        f"{action.database}: {describe(action)} ran, but its version row was not committed",
        database=action.database,
        location=action.revision.location if isinstance(action, Step) else None,
        state=await describe_current_revisions(run),
        hint=f"compare the schema with the revision; if all of it is done: circle-migrate stamp {targets}",
    )


def _exceeded_limit(run: MigrationRun, action: Action, error: Exception) -> str | None:
    """Return the limit that ended a statement of the action; None if that was another's, or no limit."""
    limit, transcript = run.deployment.settings.statement_timeout, run.runners[action.database].transcript
    if not limit or transcript is None or server_errors.sqlstate(error) != server_errors.QUERY_CANCELED:
        return None
    is_ours = transcript.seconds >= limit and not transcript.sets_timeout
    return f"{limit:g} s (statement-timeout)" if is_ours else None


def is_lock_conflict(error: BaseException) -> bool:
    """Return whether the error is a lock timeout or a deadlock, so that another attempt may succeed."""
    is_named = isinstance(error, errors.MigrateError)
    return not is_named and server_errors.sqlstate(error) in server_errors.LOCK_CONFLICTS


def _cause(error: Exception, note: str | None = None) -> str:
    sql = str(getattr(error, "statement", None) or "")
    message, head = server_errors.server_message(error), sql
    if len(sql) > _MAX_REDACTED_LENGTH:  # redaction takes seconds for each megabyte
        head = sql[:_MAX_REDACTED_LENGTH].rpartition(" ")[0]
        message = re.sub(
            r'"([^"]*)"',
            lambda text: text[0] if text[1] in head or text[1] not in sql else f'"{MASK}"',
            message,
        )
    message = redact_quotation(message, head)
    if server_errors.server_error(error) is None and server_errors.driver_message(error) is None:
        message = f"{type(error).__name__}: {message}"
    if len(message) > _MAX_MESSAGE_LENGTH:  # it quotes a value
        message = f"{message[:_MAX_MESSAGE_LENGTH]}…{message[-_LENGTH:]}"
    statement = one_line(redact_statement(head), _MAX_STATEMENT_LENGTH)
    return "; ".join(filter(None, [message, statement and f"in: {statement}", note]))


def _removed_table(run: MigrationRun, action: Action, error: Exception) -> str | None:
    """Return what is wrong with a step that has removed a table which is written after it."""
    state, journal = run.states[action.database], run.journals.get(action.database)
    sql = str(getattr(error, "statement", None) or "")
    own = [state.version_table, *([journal.steps, journal.runs] if journal else [])]
    if server_errors.sqlstate(error) != server_errors.UNDEFINED_TABLE or not any(name in sql for name in own):
        return None
    return f"the step has removed or renamed this table; {leaves_as_they_are(state)}"


def leaves_as_they_are(state: State) -> str:
    """Return what a revision must not change, for messages."""
    return f"a revision leaves {state.version_table} and the schema {state.journal_schema} as they are"


async def deferred_constraint_error(
    run: MigrationRun, action: Action, error: Exception
) -> errors.MigrationFailed:
    """Return the error for an action after which a deferred constraint does not hold."""
    return errors.MigrationFailed(
        f"{action.database}: a deferred constraint does not hold after {describe(action)}",
        database=action.database,
        detail=_cause(error),
        location=action.revision.location if isinstance(action, Step) else None,
        state=await describe_current_revisions(run),
        hint="correct the rows in the same revision, then run the same command again",
    )


async def failed_step_error(
    run: MigrationRun, failed: StepFailedError, attempts: int = 1
) -> errors.MigrateError:
    """Return the error for an action that was rolled back, or did not get its lock in so many attempts."""
    action, error = failed.action, failed.error
    if not is_lock_conflict(error) or await remaining_changes(run, action.database):
        return await step_error(run, action, error, is_lost=failed.is_lost)
    return errors.LockNotObtained(
        f"{action.database}: {describe(action)} did not get its lock in {counted(attempts, 'attempt')}",
        database=action.database,
        detail="; ".join(filter(None, [_cause(error), run.blockers.get(action.database)])),
        location=action.revision.location if isinstance(action, Step) else None,
        state=await describe_current_revisions(run),
        hint="try again when fewer sessions are active, end the blocking session, "
        "or wait longer: --lock-wait SECONDS",
    )


async def interrupted_error(run: MigrationRun, segment: Segment) -> errors.MigrateError:
    """Return the error for a run that was cancelled by a signal or because a server was lost."""
    if run.task is not None:
        run.task.uncancel()
    step = run.unfinished
    stays = await remaining_changes(run, step.database) if step is not None else ()
    state = await describe_current_revisions(run, _ANSWER_SECONDS)
    if run.lost is not None and stays and step is not None:
        return _half_applied_error(run, step, run.lost, stays, state)
    if not segment.transactional and step is not None and run.runners[step.database].transcript:
        state += "; the step ran without a transaction and may be incomplete: run the same command again"
    if stays:
        state += f"; these stay: {'; '.join(stays)}"
    if run.lost is not None:
        run.lost.state = state
        return run.lost
    return errors.Interrupted("interrupted; uncommitted changes were rolled back", state=state)
