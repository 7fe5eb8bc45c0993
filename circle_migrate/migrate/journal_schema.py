"""Create the tables of the journal in their schema, or move them from where they are."""

from contextlib import suppress

import asyncpg

from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.postgres.identifier import literal, quote
from circle_migrate.postgres.journal_tables import (
    JOURNAL_SETTING,
    OLD_PREFIX,
    OWN_TABLES,
    PROTECTION,
    RUNS,
    STEPS,
    ensure_not_in_search_path,
    runs_comment,
)
from circle_migrate.postgres.search_path import CONFIGURED_LOCALLY

_CREATE = """
CREATE TABLE {schema}.runs (
    run uuid PRIMARY KEY,
    database text NOT NULL,
    command text NOT NULL,
    mode text NOT NULL,
    planned jsonb NOT NULL,
    outcome text NOT NULL DEFAULT 'started'
        CHECK (outcome IN ('started', 'done', 'failed', 'interrupted', 'lost')),
    error text,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    db_role text NOT NULL DEFAULT current_user,
    os_user text NOT NULL,
    host text NOT NULL,
    tool_version text NOT NULL,
    notes jsonb NOT NULL DEFAULT '{{}}',
    fingerprint text
);
CREATE TABLE {schema}.steps (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run uuid NOT NULL REFERENCES {schema}.runs (run),
    segment integer NOT NULL,
    direction text NOT NULL CHECK (direction IN ('up', 'down', 'stamp')),
    revision text NOT NULL,
    message text NOT NULL,
    started_at timestamptz NOT NULL,
    duration_ms double precision NOT NULL,
    checksum text,
    source text,
    elsewhere jsonb NOT NULL
);
COMMENT ON TABLE {schema}.steps IS 'circle-migrate: one row per step that was committed on this database';
CREATE INDEX ON {schema}.steps (run, segment);
CREATE INDEX ON {schema}.steps (revision, id DESC);
"""

_TABLES = f"""
SELECT to_regnamespace(quote_ident($1)) IS NOT NULL AS schema, place.schema AS found, ARRAY(
    SELECT relname::text FROM pg_catalog.pg_class
    WHERE relnamespace = to_regnamespace(quote_ident(place.schema)) AND relname = ANY ($2::text[]::name[])
) AS present, ARRAY(
    SELECT relname::text FROM pg_catalog.pg_class
    WHERE relnamespace = to_regnamespace(quote_ident($3)) AND relname = ANY ($4::text[]::name[])
) AS old, EXISTS (
    SELECT FROM pg_catalog.pg_class
    WHERE relnamespace = to_regnamespace(quote_ident(place.schema)) AND relname = '{RUNS}'
      AND (obj_description(oid, 'pg_class') = $5 OR NOT pg_has_role(relowner, 'USAGE'))
) AS has_comment
FROM (SELECT coalesce(current_setting('{JOURNAL_SETTING}', true), $1)) place (schema)
"""
_MOVE = """
ALTER TABLE {old}{table} SET SCHEMA {schema};
ALTER TABLE {schema}.{prefix}{table} RENAME TO {table};
"""
# An earlier release has run after the move.
_STEP = "run, segment, direction, revision, message, started_at, duration_ms, checksum, source, elsewhere"
_MERGE = {
    RUNS: "INSERT INTO {schema}.runs SELECT * FROM {old}runs ON CONFLICT DO NOTHING",
    STEPS: f"INSERT INTO {{schema}}.steps ({_STEP}) SELECT {_STEP} FROM {{old}}steps ORDER BY id;"
    "DROP TABLE {old}steps, {old}runs",
    PROTECTION: "INSERT INTO {schema}.protection SELECT * FROM {old}protection; DROP TABLE {old}protection",
}


async def ensure_tables(connection: asyncpg.Connection, settings: DatabaseSettings, old_schema: str) -> None:
    """Create the tables where they are missing, in a transaction of their own.

    Tables in another schema (see `find_journal`), and those that an earlier release has made in `old_schema`,
    are moved. Raises `SettingsError` where revisions would see the schema.
    """
    schema, old = quote(settings.journal_schema), f"{quote(old_schema)}.{OLD_PREFIX}"
    comment = runs_comment(settings, old_schema)
    names = (settings.journal_schema, list(_MERGE), old_schema, OWN_TABLES, comment)
    existing = await connection.fetchrow(_TABLES, *names)
    source = existing["found"]
    statements = [] if existing["schema"] else [f"CREATE SCHEMA {schema}"]
    if source != settings.journal_schema:
        moves = [f"ALTER TABLE {quote(source)}.{table} SET SCHEMA {schema}" for table in existing["present"]]
        statements += [*moves, f"SET {JOURNAL_SETTING} = {literal(settings.journal_schema)}"]
    for table, merge in _MERGE.items():
        if f"{OLD_PREFIX}{table}" in existing["old"]:
            text = merge if table in existing["present"] else _MOVE
            statements.append(text.format(schema=schema, old=old, prefix=OLD_PREFIX, table=table))
    if RUNS not in existing["present"] and f"{OLD_PREFIX}{RUNS}" not in existing["old"]:
        statements.append(_CREATE.format(schema=schema))
    if not existing["has_comment"]:
        statements.append(f"COMMENT ON TABLE {schema}.{RUNS} IS {literal(comment)}")
    if not statements:
        return
    async with connection.transaction():
        for statement in statements:
            await connection.execute(statement)
        await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC")
        # The text sets the path of revisions first.
        text = f"{CONFIGURED_LOCALLY}, pg_catalog.current_schemas(false)::text[]"
        ensure_not_in_search_path(settings, (await connection.fetchrow(text))[1])
    if source not in (settings.journal_schema, "public"):
        with suppress(Exception):  # others have put something there
            await connection.execute(f"DROP SCHEMA {quote(source)}")
