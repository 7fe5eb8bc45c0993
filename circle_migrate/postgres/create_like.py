"""A new database that is like another one: in encoding and locale, and in what else is said of it as a whole.

What is inside of a database is a dump's business; all this is not in one (pg_dump has it only for
`pg_restore --create`, which keeps the name).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from circle_migrate.postgres.identifier import literal, quote

if TYPE_CHECKING:
    import asyncpg

_ALIKE = """
SELECT pg_encoding_to_char(encoding) AS encoding, datcollate, datctype,
       to_jsonb(d) ->> 'datlocprovider' AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       to_jsonb(d) ->> 'daticurules' AS rules
FROM pg_catalog.pg_database d WHERE datname = coalesce($1, current_database())
"""
_AS_A_WHOLE = """
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
# Settings whose stored text is quoted already (variable_is_guc_list_quote in PostgreSQL's dumputils.c).
_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}


async def locale_options(connection: asyncpg.Connection, name: str | None = None) -> list[str]:
    """The encoding and locale of a database, by default the connection's, as options of CREATE DATABASE."""
    return _options(await connection.fetchrow(_ALIKE, name))


async def create_like(connection: asyncpg.Connection, model: str, name: str) -> None:
    """Create an empty database with all that is said of another one of the same server as a whole.

    Raises what the driver raises; then there may be a database of that name.
    """
    whole = await connection.fetchrow(_AS_A_WHOLE, model)
    options = [
        "TEMPLATE template0",
        f"OWNER {quote(whole['owner'])}",
        f"TABLESPACE {quote(whole['tablespace'])}",
        f"CONNECTION LIMIT {whole['connections']}",
        *await locale_options(connection, model),
    ]
    new = quote(name)
    await connection.execute(f"CREATE DATABASE {new} {' '.join(options)}")
    if whole["comment"]:
        await connection.execute(f"COMMENT ON DATABASE {new} IS {literal(whole['comment'])}")
    for row in await connection.fetch(_SETTINGS, model):
        value = row["value"] if row["name"] in _LISTS else literal(row["value"])
        of = f"ROLE {quote(row['role'])} IN " if row["role"] else ""
        await connection.execute(f"ALTER {of}DATABASE {new} SET {_setting(row['name'])} TO {value}")
    if not whole["standard"]:
        await _grant(connection, model, new, whole["owner"])


async def _grant(connection: asyncpg.Connection, model: str, new: str, owner: str) -> None:
    await connection.execute(f"REVOKE ALL ON DATABASE {new} FROM PUBLIC, {quote(owner)}")
    for row in await connection.fetch(_PRIVILEGES, model):
        to = quote(row["role"]) if row["role"] else "PUBLIC"
        option = " WITH GRANT OPTION" if row["grantable"] else ""
        await connection.execute(f"GRANT {row['privilege']} ON DATABASE {new} TO {to}{option}")


def _setting(name: str) -> str:
    return ".".join(quote(part) for part in name.split("."))


def _options(live: Mapping[str, str | None]) -> list[str]:
    def text(key: str) -> str:
        return literal(live[key] or "")

    options = [f"ENCODING {text('encoding')}", f"LC_COLLATE {text('datcollate')}"]
    options.append(f"LC_CTYPE {text('datctype')}")
    if live["provider"] == "i":
        options.append(f"LOCALE_PROVIDER icu ICU_LOCALE {text('locale')}")
        options += [f"ICU_RULES {text('rules')}"] if live["rules"] else []
    elif live["provider"] == "b":
        options.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {text('locale')}")
    elif live["provider"] == "c":
        options.append("LOCALE_PROVIDER libc")
    return options
