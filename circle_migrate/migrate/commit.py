"""Commit one segment on several databases.

Serial: the transactions are committed one after the other, in the order of the deployment. A crash between
two commits (0.45 ms in the median of a prototype) leaves the later database one segment behind; the next
run applies that segment.

Atomic: every database but the first prepares its transaction. The plain COMMIT of the first database is the
decision, recorded by its journal rows. Then the other databases commit their prepared transactions. To
prepare the first transaction too would not be safer: a prepared transaction keeps its locks without a
session, even across a restart.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circle_migrate.core.errors import InDoubt, MigrateError, MigrationFailed, Refused
from circle_migrate.core.events import EventKind
from circle_migrate.migrate.run import MigrationRun, describe_current_revisions
from circle_migrate.postgres.database import GID_PREFIX
from circle_migrate.postgres.identifier import literal
from circle_migrate.postgres.search_path import PINNED
from circle_migrate.postgres.server_errors import server_message
from circle_migrate.revision_graph.plan import Plan, Segment

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.migrate.session import Session

_OUTCOME_SECONDS = 10.0
"""Time limit for learning, on new connections, the outcome of a statement whose answer was lost."""

_COUNT_PREPARED = "SELECT count(*) FROM pg_catalog.pg_prepared_xacts"

_IS_PREPARED = (
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts "
    "WHERE gid = $1 AND database = current_database())"
)

_IS_BACKEND_ALIVE = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE pid = $1)"

_CORRECT = "correct the cause and run the same command again"


@dataclass(frozen=True, slots=True)
class Gid:
    """The identifier of a prepared transaction; `decider` is the database whose COMMIT is the decision."""

    run: str
    segment: int
    decider: str
    database: str

    def __str__(self) -> str:
        return f"{GID_PREFIX}{self.run}:{self.segment}:{self.decider}:{self.database}"

    @classmethod
    def parse(cls, text: str) -> Gid | None:
        """Return the parts of an identifier of this package, None for any other identifier."""
        parts = text.removeprefix(GID_PREFIX).split(":")
        if not text.startswith(GID_PREFIX) or len(parts) != 4 or not re.fullmatch(r"[0-9]{1,9}", parts[1]):
            return None
        return cls(parts[0], int(parts[1]), parts[2], parts[3])


async def ensure_atomic_possible(run: MigrationRun, plan: Plan) -> None:
    """Raise `Refused` where the plan cannot be committed atomically; nothing has run."""
    if not run.deployment.settings.atomic or len(plan.databases) < 2:
        return
    for segment in plan.segments:
        if segment.end_reason:
            raise Refused(
                f"the plan cannot be committed on {' and '.join(plan.databases)} atomically: "
                f"{segment.end_reason}",
                hint="leave out --atomic, or run two commands: one to the revision before, one from there",
            )
    for name in plan.databases[1:]:
        driver = run.sessions[name].driver
        slots = int(await driver.fetchval("SHOW max_prepared_transactions"))
        prepared = int(await driver.fetchval(_COUNT_PREPARED))
        if slots <= prepared:
            raise Refused(
                f"{name}: the server has no slot for a prepared transaction "
                f"(max_prepared_transactions = {slots}, {prepared} in use)",
                database=name,
                hint="leave out --atomic, or run ALTER SYSTEM SET max_prepared_transactions = 8; "
                "and restart the server",
            )


async def commit(run: MigrationRun, number: int, segment: Segment) -> None:
    """Commit the segment, whose transactions are open on all its databases.

    Raises `MigrationFailed` where nothing was committed, `InDoubt` where a part was committed or the outcome
    is unknown.
    """
    sessions = {name: run.sessions[name] for name in run.deployment.databases if name in segment.databases}
    protocol = _atomic if run.deployment.settings.atomic and len(sessions) > 1 else _serial
    try:
        await protocol(run, number, sessions)
    except Exception:
        for session in sessions.values():
            await roll_back(session)
        raise
    for name in sessions:
        run.emit(EventKind.COMMITTED, name, f"segment {number}")


async def _serial(run: MigrationRun, number: int, sessions: Mapping[str, Session]) -> None:
    committed: list[str] = []
    for name in sessions:
        run.checkpoint(f"before commit {name}")
        await _commit(run, number, name, committed)
        committed.append(name)
        run.checkpoint(f"after commit {name}")


async def _commit(run: MigrationRun, number: int, name: str, committed: Sequence[str] = ()) -> None:
    try:
        await run.sessions[name].connection.commit()
    except Exception as error:
        if await commit_applied(run, number, name, error):
            return
        after = f" after {', '.join(committed)} had committed"
        kind: type[MigrateError] = InDoubt if committed else MigrationFailed
        raise kind(
            f"{name}: COMMIT failed{after if committed else '; the segment was not applied'}",
            database=name,
            detail=server_message(error),
            state=await describe_current_revisions(run),
            hint="run the same command again: it applies the rest" if committed else _CORRECT,
        ) from error


async def _atomic(run: MigrationRun, number: int, sessions: Mapping[str, Session]) -> None:
    first, *rest = sessions
    prepared: dict[str, Gid] = {}
    try:
        for name in rest:
            gid = Gid(run.id, number, first, name)
            run.checkpoint(f"before prepare {name}")
            await _prepare(run, sessions[name], gid)
            prepared[name] = gid
            run.checkpoint(f"after prepare {name}")
        run.checkpoint(f"before commit {first}")
        await _commit(run, number, first)
    except InDoubt:
        raise
    except Exception:
        for name, gid in prepared.items():
            await _finish(run, sessions[name], gid, "ROLLBACK PREPARED")
        raise
    run.checkpoint(f"after commit {first}")
    for name, gid in prepared.items():
        run.checkpoint(f"before commit prepared {name}")
        await _finish(run, sessions[name], gid, "COMMIT PREPARED")
        run.checkpoint(f"after commit prepared {name}")


async def _prepare(run: MigrationRun, session: Session, gid: Gid) -> None:
    name = gid.database
    try:
        tag = await session.driver.execute(f"PREPARE TRANSACTION {literal(str(gid))}")
    except Exception as error:
        if session.driver.is_closed():
            if not await _finish_on_new_connection(run, gid, "ROLLBACK PREPARED", session.pid):
                raise await _in_doubt_error(run, gid, "PREPARE TRANSACTION has no answer", error) from error
            message = "the connection was lost while the transaction was being prepared"
            raise _not_prepared(name, message, _CORRECT, error) from error
        hint = "leave out --atomic for this step: temporary tables and LISTEN prevent PREPARE TRANSACTION"
        raise _not_prepared(name, "the transaction cannot be prepared", hint, error) from error
    # PostgreSQL answers ROLLBACK, without an error, in a transaction that has failed.
    if tag != "PREPARE TRANSACTION":
        raise _not_prepared(name, "the transaction was rolled back instead of prepared", _CORRECT)
    # The server has no transaction left; this ends SQLAlchemy's.
    await session.connection.rollback()


def _not_prepared(name: str, message: str, hint: str, error: Exception | None = None) -> MigrationFailed:
    return MigrationFailed(
        f"{name}: {message}",
        database=name,
        detail=server_message(error) if error else None,
        state="the segment was rolled back on every database",
        hint=hint,
    )


async def _finish(run: MigrationRun, session: Session, gid: Gid, verb: str) -> None:
    """Commit or roll back a prepared transaction, on a new connection where the old one is lost."""
    try:
        await session.driver.execute(f"{verb} {literal(str(gid))}")
    except Exception as error:
        if session.driver.is_closed() and await _finish_on_new_connection(run, gid, verb):
            return
        raise await _in_doubt_error(run, gid, f"{verb} failed", error) from error


async def _finish_on_new_connection(
    run: MigrationRun, gid: Gid, verb: str, backend: int | None = None
) -> bool:
    """Finish a prepared transaction on a new connection, after its backend has ended, if that is in time."""

    async def attempt(connection: asyncpg.Connection) -> bool | None:
        if backend is not None and await connection.fetchval(_IS_BACKEND_ALIVE, backend):
            return None
        if await connection.fetchval(_IS_PREPARED, str(gid)):
            await connection.execute(f"{verb} {literal(str(gid))}")
        return True

    return bool(await _retry_until_known(run, gid.database, attempt))


async def _in_doubt_error(run: MigrationRun, gid: Gid, failure: str, error: Exception) -> InDoubt:
    return InDoubt(
        f"{gid.database}: {failure}; its transaction may stay prepared and keep its locks",
        database=gid.database,
        detail=server_message(error),
        state=await describe_current_revisions(run),
        hint="type `circle-migrate recover`",
    )


async def commit_applied(run: MigrationRun, number: int, name: str, error: Exception) -> bool:
    """Return whether a COMMIT without an answer was applied. Raises `InDoubt` where that is unknown."""

    async def attempt(connection: asyncpg.Connection) -> bool | None:
        alive = await connection.fetchval(_IS_BACKEND_ALIVE, run.sessions[name].pid)
        committed = await run.journals[name].has_committed(connection, run.id, number)
        return None if alive and not committed else committed

    applied = await _retry_until_known(run, name, attempt)
    if applied is None:
        raise InDoubt(
            f"{name}: the connection was lost during COMMIT, and the server does not answer",
            database=name,
            detail=server_message(error),
            state="it is unknown whether the segment was committed",
            hint="when the server is back, type `circle-migrate recover`, then the same command again",
        )
    return applied


async def _retry_until_known(
    run: MigrationRun, name: str, attempt: Callable[[asyncpg.Connection], Awaitable[bool | None]]
) -> bool | None:
    """Return the first answer of `attempt` on a new connection, None where there is none in time."""
    deadline = time.monotonic() + _OUTCOME_SECONDS
    while True:
        with suppress(Exception):  # the server may be starting
            connection = await run.deployment.databases[name].connect()
            try:
                answer = await attempt(connection)
            finally:
                connection.terminate()
            if answer is not None:
                return answer
        if time.monotonic() > deadline:
            return None
        await asyncio.sleep(0.3)


async def roll_back(session: Session) -> None:
    """Roll back, or close the connection, so that the server rolls back."""
    try:
        async with asyncio.timeout(2):
            await asyncio.shield(session.connection.rollback())
            # SQLAlchemy drops its transaction object also if the COMMIT of a step was refused.
            is_open = session.driver.is_in_transaction()
            await asyncio.shield(session.driver.execute(f"ROLLBACK;{PINNED}" if is_open else PINNED))
    except Exception:  # noqa: BLE001 - the server does not answer
        session.driver.terminate()
