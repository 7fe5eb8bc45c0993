"""The changes of a failed step that stay in its database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError
from circle_migrate.core.redaction import redact
from circle_migrate.postgres.sql_text import one_line, without_comments_and_literals

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.migrate.alembic_adapter.transcript import Transcript
    from circle_migrate.migrate.run import MigrationRun

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
SELECT pg_catalog.format('%I.%I', namespace.nspname, named.relname)
FROM pg_catalog.pg_index AS index
JOIN pg_catalog.pg_class AS named ON named.oid = index.indexrelid
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = named.relnamespace
JOIN pg_catalog.pg_class AS of_table ON of_table.oid = index.indrelid
WHERE NOT index.indisvalid
  AND (strpos(lower($1), lower(named.relname)) > 0 OR strpos(lower($1), lower(of_table.relname)) > 0)
ORDER BY 1
"""

_SHOWN, _LENGTH = 5, 100


async def remaining_changes(run: MigrationRun, database: str) -> tuple[str, ...]:
    """Return the statements and INVALID indexes that a failed step leaves after its rollback."""
    transcript = run.runners[database].transcript
    if transcript is None or not (transcript.committed or transcript.unknown or transcript.failing):
        return ()
    connection = run.sessions[database].driver
    if not connection.is_closed():
        return await _remaining_changes(connection, transcript)
    try:
        connection = await run.deployment.databases[database].connect()
    except MigrateError:
        return await _remaining_changes(None, transcript)
    try:
        return await _remaining_changes(connection, transcript)
    finally:
        connection.terminate()


async def _remaining_changes(
    connection: asyncpg.Connection | None, transcript: Transcript
) -> tuple[str, ...]:
    stays = [text for text in transcript.committed if await _changes_something(connection, text)]
    texts = [one_line(redact(text), _LENGTH) for text in stays[:_SHOWN]]
    if len(stays) > _SHOWN:
        texts.append(f"{len(stays) - _SHOWN} more")
    unknown = [text for text in transcript.unknown if await _changes_something(connection, text)]
    texts += [f"perhaps {one_line(redact(text), _LENGTH)}" for text in unknown]
    if connection is not None and "concurrently" in transcript.failing.lower():
        rows = await connection.fetch(_INVALID, transcript.failing)
        texts += [f"the INVALID index {row[0]}" for row in rows]
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
