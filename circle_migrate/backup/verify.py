"""Verify dumps: restore their schemas into scratch databases, and compare them with the manifest.

As in pg_restore, no schema but pg_catalog is in the search_path, on which functions without `SET search_path`
often depend. pg_restore evaluates some expressions only for rows, so they are evaluated for a row of neutral
values, with the rights of the table's owner.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from circle_migrate.backup.contents import NAME, catalog_digest, uses_tls
from circle_migrate.backup.dump import RestoreJob, RestoreOptions, decrypt_command
from circle_migrate.backup.manifest import Dump
from circle_migrate.config.url.environment import environment
from circle_migrate.core.errors import BackupFailed, RestoreFailed, Unreachable, UsageError
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.postgres.server_errors import server_message, sqlstate

_SCHEMA_ONLY = ("--schema-only", "--no-tablespaces", "--no-subscriptions")
_MISSING_ROLE = re.compile(r'role "[^"]+" does not exist')
# What a scratch server may lack, and the server of a restore has.
_LACKING = re.compile(
    r"is not available|could not open extension control file|could not access file|permission denied"
    r"|must be (?:superuser|owner|able to)|collation .* does not exist|unrecognized configuration parameter"
    # pg_dump before November 2026 writes this option of columns, which servers have since then.
    r'|unrecognized parameter "pg_attver"'
)
_UNDEFINED = ("42883", "42P01", "42704", "42703", "3F000")
"""SQLSTATEs of functions, tables, other objects, columns and schemas that do not exist."""

_EXPRESSIONS = """
WITH relation AS (
    SELECT c.oid, c.oid::regclass::text AS name, quote_ident(pg_get_userbyid(c.relowner)) AS owner,
           (SELECT string_agg(format('%s::%s AS %I', CASE
                WHEN t.typtype <> 'b' THEN 'NULL'
                WHEN t.typcategory = 'S' THEN quote_literal('')
                WHEN t.typcategory = 'N' THEN '0'
                WHEN t.typcategory = 'B' THEN 'false'
                WHEN t.typcategory = 'A' THEN quote_literal('{}')
                WHEN t.typname IN ('date', 'timestamp', 'timestamptz') THEN quote_literal('2000-01-01')
                ELSE 'NULL' END, format_type(t.oid, a.atttypmod), a.attname), ', ')
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS neutral
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
), expression AS (
    SELECT adrelid AS oid, pg_get_expr(adbin, adrelid) AS text
    FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = adrelid AND a.attnum = adnum
    WHERE a.attgenerated <> ''
    UNION ALL SELECT conrelid, pg_get_expr(conbin, conrelid) FROM pg_catalog.pg_constraint WHERE contype = 'c'
    UNION ALL SELECT indrelid, pg_get_expr(indexprs, indrelid) FROM pg_catalog.pg_index
    UNION ALL SELECT indrelid, pg_get_expr(indpred, indrelid) FROM pg_catalog.pg_index
)
SELECT name, owner, neutral, text FROM relation JOIN expression USING (oid) WHERE text IS NOT NULL
"""
# A refresh runs with the rights of the owner, and cannot get others.
_EVALUATE = """
CREATE MATERIALIZED VIEW public.circle_verify AS SELECT (ROW({text}))::text FROM (SELECT {neutral}) neutral
WITH NO DATA;
ALTER MATERIALIZED VIEW public.circle_verify OWNER TO {owner};
REFRESH MATERIALIZED VIEW public.circle_verify
"""


class _MissingRoleError(Exception):
    """A role of the dump does not exist, as `run_adding_missing_roles` recognizes."""

    sqlstate = "42704"


async def verify_schemas(
    deployment: Deployment,
    dumps: Sequence[tuple[Dump, Path]],
    programs: Path | None,
    identity: Path | None = None,
) -> dict[str, str]:
    """Restore the schemas; return by database why one could not be verified. Raises `BackupFailed`.

    With `identity`, the key of `age`, the files of encrypted dumps are encrypted, too.
    """
    reasons: dict[str, str] = {}
    async with ScratchServers(deployment) as servers:
        for dump, path in dumps:
            name = dump.database
            try:
                async with servers.databases([name], major=dump.major, with_schemas=False) as scratch:
                    decryption = decrypt_command(identity) if identity and dump.encrypted else []
                    reason = await _verify(scratch, dump, path, programs, decryption)
            except (UsageError, Unreachable) as error:
                reason = error.message
            if reason:
                reasons[name] = reason
    return reasons


async def _verify(
    scratch: Scratch, dump: Dump, path: Path, programs: Path | None, decryption: Sequence[str]
) -> str | None:
    name, major = dump.database, scratch.majors[dump.database]
    if major < dump.major:
        return f"the server for scratch databases is PostgreSQL {major}, older than {dump.major}"
    database = scratch.deployment.databases[name]

    async def restore(*, owners: bool = True) -> None:
        options = RestoreOptions(programs=programs, owners=owners, privileges=False)
        job = RestoreJob.plan(dump, major, options, decryption)
        job = replace(job, exclusions=(*job.exclusions, *_SCHEMA_ONLY))
        async with database.connected(NAME) as connection:
            encrypted = await uses_tls(connection)
        address = await database.authenticated_address()
        try:
            with environment(address, NAME, encrypted=encrypted) as env:
                await job.restore(name, path, env)
        except RestoreFailed as error:
            if missing := _MISSING_ROLE.search(error.detail or ""):
                raise _MissingRoleError(missing[0]) from None  # with a cause it counts as a server error
            raise

    try:
        try:
            await scratch.run_adding_missing_roles(restore)
        except _MissingRoleError:
            # Without its owner, a function would run with the rights of the role that restores it.
            if {"function", "procedure", "aggregate", "window function"} & dump.objects.keys():
                raise
            await restore(owners=False)
    except (_MissingRoleError, RestoreFailed) as error:
        detail = error.detail or "" if isinstance(error, RestoreFailed) else str(error)
        if isinstance(error, _MissingRoleError) or _LACKING.search(detail):
            return f"the server for scratch databases lacks something: {detail.partition(chr(10))[0]}"
        raise _failure(name, "the dump cannot be restored", detail) from error
    digest = catalog_digest(await read_live_catalog(database))
    if difference := dump.differs_from(digest.objects, digest.digest, major):
        raise _failure(name, "the dump makes another schema than that of the database", difference)
    await _evaluate(database)
    return None


async def _evaluate(database: Database) -> None:
    """Evaluate the expressions that a restore evaluates for rows."""
    async with database.connected(NAME) as connection:
        for name, owner, neutral, text in await connection.fetch(_EXPRESSIONS):
            statement = _EVALUATE.format(text=text, neutral=neutral, owner=owner)
            try:
                await connection.execute(f"BEGIN; SET LOCAL statement_timeout = '5s'; {statement}")
            except Exception as error:
                if sqlstate(error) in _UNDEFINED:
                    detail = f"{name}: {server_message(error)}"
                    raise _failure(
                        database.name, "the dump cannot be restored with its rows", detail
                    ) from error
            await connection.execute("ROLLBACK")


def _failure(name: str, message: str, detail: str) -> BackupFailed:
    return BackupFailed(
        f"{name}: {message}",
        database=name,
        detail=detail,
        hint="pg_restore runs with an empty search_path: name the schema of each object in the bodies of"
        " functions, or add SET search_path to the functions",
    )
