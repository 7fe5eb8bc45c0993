"""Committing one segment on several databases.

Serial: the transactions are committed one after the other, in the order of the deployment. A crash between
two commits (0.45 ms in the median) leaves the later database a segment behind, and running again mends it.

Atomic: every database but the first prepares its transaction, the plain COMMIT of the first is the decision
(its journal rows are the record of it), then the others commit what they prepared. Preparing the first one
too would be no safer: a prepared transaction keeps its locks without a session, even across a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circle_migrate.core.events import Kind
from circle_migrate.core.plan import Plan, Segment
from circle_migrate.database import GID_PREFIX, literal
from circle_migrate.errors import CircleError, InDoubt, MigrationFailed, Refused
from circle_migrate.failures import where_things_are
from circle_migrate.faults import server_words
from circle_migrate.run import Mode, Run

if TYPE_CHECKING:
    from circle_migrate.sessions import Session

_SETTLE = 10.0
"""Seconds to find out, on new connections, how a COMMIT whose answer was lost has ended."""

_SHORT_OF_SLOTS = "SELECT count(*) FROM pg_catalog.pg_prepared_xacts"


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


async def refuse_not_atomic(run: Run, plan: Plan) -> None:
    """Raise `Refused`, before anything runs, where one decision over the whole plan is not possible."""
    if run.mode is not Mode.ATOMIC or len(plan.databases) < 2:
        return
    for segment in plan.segments:
        if segment.ends_because:
            raise Refused(
                f"this cannot be one decision over {' and '.join(plan.databases)}: {segment.ends_because}",
                state="nothing was changed",
                hint="leave out --atomic, or go in two calls: to the revision before, then on",
            )
    for name in plan.databases[1:]:
        driver = run.sessions[name].driver
        slots = int(await driver.fetchval("SHOW max_prepared_transactions"))
        taken = int(await driver.fetchval(_SHORT_OF_SLOTS))
        if slots - taken < 1:
            raise Refused(
                f"{name}: the server has no slot for a prepared transaction "
                f"(max_prepared_transactions = {slots}, {taken} taken)",
                database=name,
                state="nothing was changed",
                hint="leave out --atomic, or: ALTER SYSTEM SET max_prepared_transactions = 8; and restart",
            )


async def commit(run: Run, number: int, segment: Segment) -> None:
    """Commit the segment, whose transactions are open on all its databases.

    Raises `MigrationFailed` where nothing was committed, `InDoubt` where only a part was or nobody can tell.
    """
    sessions = {name: run.sessions[name] for name in run.deployment.databases if name in segment.databases}
    if run.mode is Mode.ATOMIC and len(sessions) > 1:
        await _atomic(run, number, sessions)
    else:
        await _serial(run, number, sessions)
    for name in sessions:
        run.tell(Kind.COMMITTED, name, f"segment {number}")


async def _serial(run: Run, number: int, sessions: Mapping[str, Session]) -> None:
    committed: list[str] = []
    for name, session in sessions.items():
        run.checkpoint(f"before commit {name}")
        error = await _commit(session)
        if error is not None and not await _settled(run, number, name):
            for other in list(sessions)[len(committed) :]:
                await roll_back(sessions[other])
            raise await _not_committed(run, name, committed, error)
        committed.append(name)
        run.checkpoint(f"after commit {name}")


async def _commit(session: Session) -> Exception | None:
    try:
        await session.connection.commit()
    except Exception as error:  # noqa: BLE001 - the caller asks the server what became of it
        return error
    return None


async def _not_committed(run: Run, name: str, committed: list[str], error: Exception) -> CircleError:
    state = await where_things_are(run.deployment, tuple(run.sessions))
    if committed:
        return InDoubt(
            f"{name}: COMMIT failed after {', '.join(committed)} had committed",
            database=name,
            detail=server_words(error),
            state=state,
            hint="run the same command again: it goes on from there",
        )
    return MigrationFailed(
        f"{name}: COMMIT failed; nothing of this segment was applied",
        database=name,
        detail=server_words(error),
        state=state,
        hint="correct the cause and run the same command again",
    )


async def _atomic(run: Run, number: int, sessions: Mapping[str, Session]) -> None:
    first, *others = sessions
    prepared: dict[str, Gid] = {}
    try:
        for name in others:
            gid = Gid(run.id, number, first, name)
            run.checkpoint(f"before prepare {name}")
            await _prepare(sessions[name], gid, name)
            prepared[name] = gid
            run.checkpoint(f"after prepare {name}")
        run.checkpoint(f"before commit {first}")
        error = await _commit(sessions[first])
        if error is not None and not await _settled(run, number, first):
            raise await _not_committed(run, first, [], error)
    except InDoubt:
        raise
    except Exception:
        for name, gid in prepared.items():
            await _finish(run, sessions[name], gid, "ROLLBACK PREPARED")
        for session in sessions.values():
            await roll_back(session)
        raise
    run.checkpoint(f"after commit {first}")
    for name, gid in prepared.items():
        run.checkpoint(f"before commit prepared {name}")
        await _finish(run, sessions[name], gid, "COMMIT PREPARED")
        run.checkpoint(f"after commit prepared {name}")


async def _prepare(session: Session, gid: Gid, name: str) -> None:
    try:
        tag = await session.driver.execute(f"PREPARE TRANSACTION {literal(str(gid))}")
    except Exception as error:
        raise MigrationFailed(
            f"{name}: the transaction cannot be prepared",
            database=name,
            detail=server_words(error),
            state="rolled back on every database",
            hint="leave out --atomic for this step: temporary tables, LISTEN and the like cannot be prepared",
        ) from error
    # In a transaction that has failed PostgreSQL answers ROLLBACK, without an error.
    if tag != "PREPARE TRANSACTION":
        raise MigrationFailed(
            f"{name}: the transaction was rolled back instead of prepared",
            database=name,
            state="rolled back on every database",
        )
    # For the server there is nothing left to roll back; SQLAlchemy has to learn that its transaction is over.
    await session.connection.rollback()


async def _finish(run: Run, session: Session, gid: Gid, verb: str) -> None:
    try:
        await session.driver.execute(f"{verb} {literal(str(gid))}")
    except Exception as error:
        raise InDoubt(
            f"{gid.database}: {verb} failed; its transaction stays prepared and keeps its locks",
            database=gid.database,
            detail=server_words(error),
            state=await where_things_are(run.deployment, tuple(run.sessions)),
            hint="type `circle-migrate recover`",
        ) from error


async def _settled(run: Run, number: int, name: str) -> bool:
    """Whether a COMMIT without an answer was carried out. Raises `InDoubt` where nobody can tell."""
    database, old = run.deployment.databases[name], run.sessions[name].pid
    deadline = time.monotonic() + _SETTLE
    reason: CircleError | None = None
    while time.monotonic() < deadline:
        try:
            connection = await database.connect()
        except CircleError as error:
            reason = error
        else:
            try:
                if await run.journals[name].decided(connection, run.id, number):
                    return True
                if not await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE pid = $1)", old
                ):
                    return await run.journals[name].decided(connection, run.id, number)
            finally:
                connection.terminate()
        await asyncio.sleep(0.3)
    raise InDoubt(
        f"{name}: the connection was lost while COMMIT was on its way, and the server cannot be asked",
        database=name,
        detail=(reason.detail or reason.message) if reason else None,
        state="committed or not: unknown",
        hint="when the server is back: `circle-migrate recover`, then the same command again",
    )


async def roll_back(session: Session) -> None:
    """Roll back; a server that does not answer does it by itself once the connection is gone."""
    try:
        await asyncio.wait_for(asyncio.shield(session.connection.rollback()), timeout=2)
    except Exception:  # noqa: BLE001 - see above
        session.driver.terminate()
