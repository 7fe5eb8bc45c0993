"""Create missing databases, and databases with the properties of another one, which dumps lack."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from circle_migrate.core.errors import MissingDatabase, MissingPrivilege
from circle_migrate.postgres.database import Database, terminated_on_error
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import literal, quote, setting_value
from circle_migrate.postgres.search_path import PINNED
from circle_migrate.postgres.server_errors import connection_errors, server_message, sqlstate

_LOCALE = """
SELECT pg_encoding_to_char(encoding) AS encoding, datcollate, datctype,
       to_jsonb(d) ->> 'datlocprovider' AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       to_jsonb(d) ->> 'daticurules' AS rules
FROM pg_catalog.pg_database d WHERE datname = coalesce($1, current_database())
"""
_PROPERTIES = """
SELECT pg_get_userbyid(datdba) AS owner, datconnlimit AS connections, spcname AS tablespace, datacl IS NULL AS
       standard, shobj_description(d.oid, 'pg_database') AS comment
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = dattablespace WHERE datname = $1
"""
_SETTINGS = """
SELECT CASE WHEN setrole <> 0 THEN pg_get_userbyid(setrole) END AS role, split_part(entry, '=', 1) AS name,
       substr(entry, strpos(entry, '=') + 1) AS value
FROM pg_catalog.pg_db_role_setting s, unnest(setconfig) AS entry
WHERE setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = $1)
"""
_PRIVILEGES = """
SELECT CASE WHEN grantee <> 0 THEN pg_get_userbyid(grantee) END AS role, privilege_type AS privilege,
       is_grantable AS grantable
FROM pg_catalog.pg_database d, aclexplode(datacl) WHERE datname = $1
"""


async def locale_options(connection: asyncpg.Connection, name: str | None = None) -> list[str]:
    """Return the encoding and locale of a database, by default the current one, for CREATE DATABASE."""
    row = await connection.fetchrow(_LOCALE, name)
    value = {key: literal(text or "") for key, text in row.items()}
    options = [f"ENCODING {value['encoding']} LC_COLLATE {value['datcollate']} LC_CTYPE {value['datctype']}"]
    if row["provider"] == "i":
        options.append(f"LOCALE_PROVIDER icu ICU_LOCALE {value['locale']}")
        options += [f"ICU_RULES {value['rules']}"] if row["rules"] else []
    elif row["provider"] == "b":
        options.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {value['locale']}")
    elif row["provider"] == "c":
        options.append("LOCALE_PROVIDER libc")
    return options


async def create_like(connection: asyncpg.Connection, model: str, name: str) -> None:
    """Create an empty database with `model`'s owner, locale, settings, privileges; an error may leave it."""
    properties = await connection.fetchrow(_PROPERTIES, model)
    options = [
        "TEMPLATE template0",
        f"OWNER {quote(properties['owner'])}",
        f"CONNECTION LIMIT {properties['connections']}",
        *await locale_options(connection, model),
    ]
    if properties["tablespace"] != "pg_default":  # the default needs no privilege unless it is named
        options.append(f"TABLESPACE {quote(properties['tablespace'])}")
    new = quote(name)
    await connection.execute(f"CREATE DATABASE {new} {' '.join(options)}")
    if properties["comment"]:
        await connection.execute(f"COMMENT ON DATABASE {new} IS {literal(properties['comment'])}")
    for row in await connection.fetch(_SETTINGS, model):
        value = setting_value(row["name"], row["value"])
        role = f"ROLE {quote(row['role'])} IN " if row["role"] else ""
        setting = ".".join(map(quote, row["name"].split(".")))
        await connection.execute(f"ALTER {role}DATABASE {new} SET {setting} TO {value}")
    if properties["standard"]:
        return
    await connection.execute(f"REVOKE ALL ON DATABASE {new} FROM PUBLIC, {quote(properties['owner'])}")
    for row in await connection.fetch(_PRIVILEGES, model):
        grantee = quote(row["role"]) if row["role"] else "PUBLIC"
        option = " WITH GRANT OPTION" if row["grantable"] else ""
        await connection.execute(f"GRANT {row['privilege']} ON DATABASE {new} TO {grantee}{option}")


_DUPLICATE_DATABASE = ("42P04", "23505")


async def create_missing(deployment: Deployment) -> tuple[str, ...]:
    """Create missing databases; return their names. Raises `MissingPrivilege`, the errors of connecting."""
    states = await deployment.states_or_errors()
    missing = [name for name, state in states.items() if isinstance(state, MissingDatabase)]
    for state in states.values():
        if isinstance(state, Exception) and not isinstance(state, MissingDatabase):
            raise state
    return tuple([name for name in missing if await _create(deployment.databases[name])])


@asynccontextmanager
async def maintenance_connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection to a maintenance database of the database's server, terminated at the end."""
    try:
        connection = await _connect(database, "postgres")
    except MissingDatabase:
        connection = await _connect(database, "template1")
    try:
        yield connection
    finally:
        connection.terminate()


async def _connect(database: Database, maintenance_database: str) -> asyncpg.Connection:
    address = (await database.authenticated_address()).with_database(maintenance_database)
    with connection_errors(database.name, address):
        connection = await asyncpg.connect(**address.connect_kwargs())
        with terminated_on_error(connection):
            await connection.execute(PINNED)
    return connection


async def _create(database: Database) -> bool:
    """Create one database; return False if another session created it meanwhile."""
    name = database.address.database
    try:
        async with maintenance_connection(database) as connection:
            await connection.execute(f"CREATE DATABASE {quote(name)}")
    except asyncpg.PostgresError as error:
        if sqlstate(error) in _DUPLICATE_DATABASE:
            return False
        raise MissingPrivilege(
            f"{database.name}: the database {name!r} cannot be created",
            database=database.name,
            detail=server_message(error),
            hint=f'ALTER ROLE "{database.address.user}" CREATEDB; or ask an administrator to create it',
        ) from error
    return True
