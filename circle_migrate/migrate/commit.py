"""Committing one segment on several databases.

Serial: the transactions are committed one after the other, in the order of the deployment. A crash between
two commits (0.45 ms in the median of a prototype) leaves the later database a segment behind, and running
again mends it.

Atomic: every database but the first prepares its transaction, the plain COMMIT of the first is the decision
(its journal rows are the record of it), then the others commit what they prepared. Preparing the first one
too would be no safer: a prepared transaction keeps its locks without a session, even across a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circle_migrate.core.errors import InDoubt, MigrateError, MigrationFailed, Refused
from circle_migrate.core.events import Kind
from circle_migrate.migrate.failure import describe_current_revisions
from circle_migrate.migrate.run import MigrationRun
from circle_migrate.postgres.database import GID_PREFIX
from circle_migrate.postgres.identifier import literal
from circle_migrate.postgres.server_errors import server_message
from circle_migrate.revision_graph.plan import Plan, Segment

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.migrate.session import Session

_SETTLE = 10.0
"""Seconds to find out, on new connections, how a statement whose answer was lost has ended."""

_SLOTS_TAKEN = "SELECT count(*) FROM pg_catalog.pg_prepared_xacts"

_IS_PREPARED = (
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts "
    "WHERE gid = $1 AND database = current_database())"
)

_BACKEND_LIVES = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE pid = $1)"


@dataclass(frozen=True, slots=True)
class Gid:
    """The name of a prepared transaction: whose it is and which database has the decision."""

    run: str
    segment: int
    decider: str
    database: str

    def __str__(self) -> str:
        return f"{GID_PREFIX}{self.run}:{self.segment}:{self.decider}:{self.database}"

    @classmethod
    def parse(cls, text: str) -> Gid | None:
        """The parts of a name of ours; None for any other."""
        parts = text.removeprefix(GID_PREFIX).split(":")
        if not text.startswith(GID_PREFIX) or len(parts) != 4 or not parts[1].isdigit():
            return None
        return cls(parts[0], int(parts[1]), parts[2], parts[3])


async def ensure_atomic_possible(run: MigrationRun, plan: Plan) -> None:
    """Raise `Refused`, before anything runs, where one decision over the whole plan is not possible."""
    if not run.deployment.settings.atomic or len(plan.databases) < 2:
        return
    for segment in plan.segments:
        if segment.end_reason:
            raise Refused(
                f"this cannot be one decision over {' and '.join(plan.databases)}: {segment.end_reason}",
                state="nothing was changed",
                hint="leave out --atomic, or go in two calls: to the revision before, then on",
            )
    for name in plan.databases[1:]:
        driver = run.sessions[name].driver
        slots = int(await driver.fetchval("SHOW max_prepared_transactions"))
        taken = int(await driver.fetchval(_SLOTS_TAKEN))
        if slots - taken < 1:
            raise Refused(
                f"{name}: the server has no slot for a prepared transaction "
                f"(max_prepared_transactions = {slots}, {taken} taken)",
                database=name,
                state="nothing was changed",
                hint="leave out --atomic, or: ALTER SYSTEM SET max_prepared_transactions = 8; and restart",
            )


async def commit(run: MigrationRun, number: int, segment: Segment) -> None:
    """Commit the segment, whose transactions are open on all its databases.

    Raises `MigrationFailed` where nothing was committed, `InDoubt` where only a part was or nobody can tell.
    """
    sessions = {name: run.sessions[name] for name in run.deployment.databases if name in segment.databases}
    how = _atomic if run.deployment.settings.atomic and len(sessions) > 1 else _serial
    try:
        await how(run, number, sessions)
    except Exception:
        for session in sessions.values():
            await roll_back(session)
        raise
    for name in sessions:
        run.emit(Kind.COMMITTED, name, f"segment {number}")


async def _serial(run: MigrationRun, number: int, sessions: Mapping[str, Session]) -> None:
    committed: list[str] = []
    for name, session in sessions.items():
        run.checkpoint(f"before commit {name}")
        error = await _commit(session)
        if error is not None and not await _commit_applied(run, number, name, error):
            raise await _not_committed(run, name, committed, error)
        committed.append(name)
        run.checkpoint(f"after commit {name}")


async def _commit(session: Session) -> Exception | None:
    try:
        await session.connection.commit()
    except Exception as error:  # noqa: BLE001 - the caller asks the server what became of it
        return error
    return None


async def _not_committed(
    run: MigrationRun, name: str, committed: list[str], error: Exception
) -> MigrateError:
    state = await describe_current_revisions(run.deployment, tuple(run.sessions))
    if committed:
        return InDoubt(
            f"{name}: COMMIT failed after {', '.join(committed)} had committed",
            database=name,
            detail=server_message(error),
            state=state,
            hint="run the same command again: it goes on from there",
        )
    return MigrationFailed(
        f"{name}: COMMIT failed; nothing of this segment was applied",
        database=name,
        detail=server_message(error),
        state=state,
        hint="correct the cause and run the same command again",
    )


async def _atomic(run: MigrationRun, number: int, sessions: Mapping[str, Session]) -> None:
    first, *others = sessions
    prepared: dict[str, Gid] = {}
    try:
        for name in others:
            gid = Gid(run.id, number, first, name)
            run.checkpoint(f"before prepare {name}")
            await _prepare(run, sessions[name], gid)
            prepared[name] = gid
            run.checkpoint(f"after prepare {name}")
        run.checkpoint(f"before commit {first}")
        error = await _commit(sessions[first])
        if error is not None and not await _commit_applied(run, number, first, error):
            raise await _not_committed(run, first, [], error)
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
            await _rollback_unconfirmed(run, session, gid, error)
            raise _not_prepared(
                f"{name}: the connection was lost while the transaction was being prepared", gid, error
            ) from error
        raise _not_prepared(
            f"{name}: the transaction cannot be prepared",
            gid,
            error,
            hint="leave out --atomic for this step: temporary tables, LISTEN and the like cannot be prepared",
        ) from error
    # In a transaction that has failed PostgreSQL answers ROLLBACK, without an error.
    if tag != "PREPARE TRANSACTION":
        raise _not_prepared(f"{name}: the transaction was rolled back instead of prepared", gid)
    # For the server there is nothing left to roll back; SQLAlchemy has to learn that its transaction is over.
    await session.connection.rollback()


def _not_prepared(
    what: str, gid: Gid, error: Exception | None = None, hint: str | None = None
) -> MigrationFailed:
    return MigrationFailed(
        what,
        database=gid.database,
        detail=server_message(error) if error else None,
        state="rolled back on every database",
        hint=hint or "correct the cause and run the same command again",
    )


async def _rollback_unconfirmed(run: MigrationRun, session: Session, gid: Gid, error: Exception) -> None:
    """Roll back what a PREPARE whose answer was lost has left. Raises `InDoubt` where nobody can tell."""

    async def attempt(connection: asyncpg.Connection) -> bool | None:
        if await connection.fetchval(_BACKEND_LIVES, session.pid):
            return None
        if await connection.fetchval(_IS_PREPARED, str(gid)):
            await connection.execute(f"ROLLBACK PREPARED {literal(str(gid))}")
        return True

    if await _retry_until_known(run, gid.database, attempt) is None:
        raise await _in_doubt_error(run, gid, "PREPARE TRANSACTION has no answer", error) from error


async def _finish(run: MigrationRun, session: Session, gid: Gid, verb: str) -> None:
    """Commit or roll back what was prepared, on a new connection where the old one is lost."""

    async def attempt(connection: asyncpg.Connection) -> bool | None:
        if await connection.fetchval(_IS_PREPARED, str(gid)):
            await connection.execute(f"{verb} {literal(str(gid))}")
        return True

    try:
        await session.driver.execute(f"{verb} {literal(str(gid))}")
    except Exception as error:
        if session.driver.is_closed() and await _retry_until_known(run, gid.database, attempt):
            return
        raise await _in_doubt_error(run, gid, f"{verb} failed", error) from error


async def _in_doubt_error(run: MigrationRun, gid: Gid, what: str, error: Exception) -> InDoubt:
    return InDoubt(
        f"{gid.database}: {what}; its transaction may stay prepared and keep its locks",
        database=gid.database,
        detail=server_message(error),
        state=await describe_current_revisions(run.deployment, tuple(run.sessions)),
        hint="type `circle-migrate recover`",
    )


async def _commit_applied(run: MigrationRun, number: int, name: str, error: Exception) -> bool:
    """Whether a COMMIT without an answer was carried out. Raises `InDoubt` where nobody can tell."""

    async def attempt(connection: asyncpg.Connection) -> bool | None:
        lives = await connection.fetchval(_BACKEND_LIVES, run.sessions[name].pid)
        decided = await run.journals[name].has_committed(connection, run.id, number)
        return None if lives and not decided else decided

    answer = await _retry_until_known(run, name, attempt)
    if answer is None:
        raise InDoubt(
            f"{name}: the connection was lost while COMMIT was on its way, and the server cannot be asked",
            database=name,
            detail=server_message(error),
            state="committed or not: unknown",
            hint="when the server is back: `circle-migrate recover`, then the same command again",
        )
    return answer


async def _retry_until_known(
    run: MigrationRun, name: str, attempt: Callable[[asyncpg.Connection], Awaitable[bool | None]]
) -> bool | None:
    """What `attempt` says on a new connection, again and again while it is None or fails; None at the end."""
    deadline = time.monotonic() + _SETTLE
    while True:
        with suppress(Exception):  # a server that is starting, or goes away once more, is asked again
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
    """Roll back; a server that does not answer does it by itself once the connection is gone."""
    try:
        async with asyncio.timeout(2):
            await asyncio.shield(session.connection.rollback())
    except Exception:  # noqa: BLE001 - see above
        session.driver.terminate()
