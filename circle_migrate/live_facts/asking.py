"""Putting questions to a live database: read only, each for a short time, and never a guess for an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from circle_migrate.core.identifier import split_identity
from circle_migrate.core.live import Answer, Ask, Probe
from circle_migrate.faults import INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE, server_words, sqlstate
from circle_migrate.live_facts.looking import limits
from circle_migrate.live_facts.question import LIMIT

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.database import Database

SECONDS = 2.0
TOTAL_SECONDS = 30.0
_GRACE_SECONDS = 2.0

_CANCELLED = "57014"
_NO_SUCH_FUNCTION = "42883"
_CONSTRAINT_CLASSES = ("22", "23")
# Words of a server about these quote names; those about data may quote data.
_SPEAKABLE = ("08", "25", "40", "42", "53", "54", "55", "57", "58", "3F", "0A")

# Texts of definitions were printed with these settings. Without row_security a policy would hide rows
# silently; with it off, the server refuses what it would have to hide.
_SESSION = (
    "SET LOCAL row_security = off;SET LOCAL datestyle = 'ISO, YMD';SET LOCAL intervalstyle = 'postgres';"
)

_ANCESTORS = """
WITH RECURSIVE above (name, oid) AS (
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.oid
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY ($1)
    UNION
    SELECT above.name, i.inhparent FROM above JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.oid
)
SELECT above.name, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS ancestor
FROM above JOIN pg_catalog.pg_class c USING (oid) JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE quote_ident(n.nspname) || '.' || quote_ident(c.relname) <> above.name
"""


async def ask(
    database: Database, probes: Sequence[Probe], seconds: float = SECONDS, total: float = TOTAL_SECONDS
) -> tuple[Answer, ...]:
    """The answers to the probes of one database, in their order.

    Each may take `seconds`, all together `total`. A partition is left out where its parent is asked the
    same. Whatever keeps an answer from being had is said in `why`. Raises only what connecting raises.
    """
    if not any(each.query for each in probes):
        return tuple(Answer(each, None, why=each.unknown) for each in probes)
    async with database.reading() as connection:
        await connection.execute("COMMIT")  # every question has a transaction; the session keeps its settings
        ends = time.monotonic() + total
        covered = await _covered(connection, probes, seconds)
        asked = (each for each in probes if each not in covered)
        return tuple([await _answer(connection, each, seconds, ends) for each in asked])


async def _answer(connection: asyncpg.Connection, probe: Probe, seconds: float, ends: float) -> Answer:
    if probe.unknown:
        return Answer(probe, None, why=probe.unknown)
    left = ends - time.monotonic()
    if left <= 0:
        return Answer(probe, None, why="not asked: the questions before took all the time there was")
    if connection.is_closed():
        return Answer(probe, None, why="not asked: the connection was lost")
    try:
        count = await _counted(connection, probe, min(seconds, left))
    except Exception as error:  # noqa: BLE001 - an answer that cannot be had is unknown, whatever the reason
        return _failed(probe, error, seconds)
    if count and probe.mended_by:
        return Answer(
            probe, None, why=f"{_number(count)} now; {probe.mended_by} changes that in the same run"
        )
    return Answer(probe, min(count, LIMIT), more=count > LIMIT)


async def _counted(connection: asyncpg.Connection, probe: Probe, seconds: float) -> int:
    """What a probe's query says; the server ends it in time, and where it is silent we end the connection."""
    try:
        async with asyncio.timeout(seconds + _GRACE_SECONDS):
            await connection.execute(f"BEGIN READ ONLY;{limits(seconds)};{_SESSION}")
            try:
                return int(await connection.fetchval(probe.query) or 0)
            finally:
                await connection.execute("ROLLBACK")
    except TimeoutError:
        connection.terminate()
        raise


def _failed(probe: Probe, error: Exception, seconds: float) -> Answer:
    state = sqlstate(error) or ""
    if state.startswith(_CONSTRAINT_CLASSES):
        if probe.ask is Ask.UNCASTABLE and not probe.mended_by:
            return Answer(probe, 1, more=True)
        return Answer(probe, None, why=f"a value made the question fail (SQLSTATE {state})")
    return Answer(probe, None, why=_words(error, state, seconds))


def _words(error: Exception, state: str, seconds: float) -> str:
    if state == _CANCELLED or isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if state == LOCK_NOT_AVAILABLE:
        return "another session has locked the table"
    if state == INSUFFICIENT_PRIVILEGE:
        return f"the role may not read it: {server_words(error)}"
    if state == _NO_SUCH_FUNCTION and "pg_input_is_valid" in server_words(error):
        return "only PostgreSQL 16 and newer can try a conversion"
    if state.startswith(_SPEAKABLE) or not state:
        return server_words(error)
    return f"the server could not answer (SQLSTATE {state})"


def _number(count: int) -> str:
    return f"more than {LIMIT}" if count > LIMIT else str(count)


async def _covered(
    connection: asyncpg.Connection, probes: Sequence[Probe], seconds: float
) -> frozenset[Probe]:
    """The probes of partitions whose parent is asked the same, and answers for them."""
    relations = sorted({each.relation for each in probes})
    try:
        async with asyncio.timeout(seconds + _GRACE_SECONDS):
            rows = await connection.fetch(_ANCESTORS, relations)
    except Exception:  # noqa: BLE001 - then a partition is asked for itself too, and answers no worse
        return frozenset()
    asked = {_question(each, each.relation) for each in probes}
    above: dict[str, set[str]] = {}
    for row in rows:
        above.setdefault(row["name"], set()).add(row["ancestor"])
    return frozenset(
        each
        for each in probes
        if any(_question(each, parent) in asked for parent in above.get(each.relation, ()))
    )


def _question(probe: Probe, relation: str) -> tuple[object, ...]:
    """What is asked, of a column or of a whole table, whichever table that is."""
    return (probe.statement, probe.ask, relation, split_identity(probe.subject)[2:])
