"""Read the catalog of a database over an open connection."""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import asyncpg

from circle_migrate.postgres.catalog import queries
from circle_migrate.postgres.catalog.queries import PINS, read_transaction
from circle_migrate.postgres.catalog.snapshot import ObjectAddress, ObjectKey, Snapshot
from circle_migrate.postgres.identifier import quote_if_needed, unquote
from circle_migrate.postgres.journal_tables import OWN_TABLES

Fetch = Callable[..., Awaitable[Sequence[Any]]]
"""Sends a query with its parameters and returns the rows, as `fetch` of a connection."""

OWNER = "<owner>"
"""Placeholder for the owner of the version table, whose name differs between servers."""

# https://www.postgresql.org/docs/18/ddl-priv.html#PRIVILEGE-ABBREVS-TABLE
_RIGHTS = {
    "r": "SELECT",
    "a": "INSERT",
    "w": "UPDATE",
    "d": "DELETE",
    "D": "TRUNCATE",
    "x": "REFERENCES",
    "t": "TRIGGER",
    "m": "MAINTAIN",
    "X": "EXECUTE",
    "U": "USAGE",
    "C": "CREATE",
    "c": "CONNECT",
    "T": "TEMPORARY",
    "s": "SET",
    "A": "ALTER SYSTEM",
}
_NAME = r'"(?:[^"]|"")*"|[^"=/]*'
_ITEM = re.compile(rf"({_NAME})=([A-Za-z*]*)/({_NAME})", re.DOTALL)


def format_acl(items: Iterable[str], owner: str, object_owner: str | None) -> str:
    """Return a line per grantee: `reader: SELECT, UPDATE*`; `*` is the grant option, PUBLIC is `public`.

    `owner` is the role that is written as `<owner>`. Grants of other roles than `object_owner` end with ` by
    ROLE`.
    """
    return "\n".join(sorted(_format_item(item, owner, object_owner) for item in items))


@lru_cache(maxsize=1024)
def _format_item(item: str, owner: str, object_owner: str | None) -> str:
    match = _ITEM.fullmatch(item)
    if match is None:  # an unknown format is kept as it is
        return item
    grantee, letters, grantor = (unquote(match[1]), match[2], unquote(match[3]))
    granted = (_RIGHTS.get(letter, letter) + star for letter, star in re.findall(r"(\w)(\*?)", letters))
    by = "" if grantor == object_owner else f" by {role(grantor, owner)}"
    return f"{role(grantee, owner) if grantee else 'public'}: {', '.join(granted)}{by}"


def role(name: str, owner: str) -> str:
    """Return a role as in snapshots: `<owner>`, or its name, quoted if needed."""
    return OWNER if name == owner else quote_if_needed(name)


_ROLES = {"owner", "role"}
_PRIVILEGES = {"acl", "sequence_acl"}
_NAME_ROLES = _ROLES | _PRIVILEGES


async def read_catalog(
    connection: asyncpg.Connection,
    database: str,
    origin: str,
    version_table: str,
    version_table_schema: str | None,
    *,
    fetch: Fetch | None = None,
) -> Snapshot:
    """Return all objects of the connection's database; its transaction and settings are unchanged afterwards.

    Objects of extensions, temporary objects, the version table and our own tables are omitted. Raises the
    driver's errors; `read_live_catalog` handles those of concurrent changes.
    """
    fetch = fetch or connection.fetch
    async with read_transaction(connection):
        [context] = await fetch(queries.session_context(), version_table, version_table_schema)
        await connection.execute(PINS)
        builder = await read_objects(fetch, context, version_table)
    return Snapshot(database, origin, context["version"], builder.objects, unmodelled=builder.unmodelled)


async def read_objects(fetch: Fetch, context: Any, version_table: str) -> "SnapshotBuilder":
    """Return all objects; `context` is the row of `session_context`."""
    statements = queries.catalog(context["version"] // 10000, frozenset(context["used"]))
    arguments = scope_arguments(context, version_table)
    builder = SnapshotBuilder(context["owner"])
    for text in statements.tables:  # one after another, to limit memory
        builder.add(await fetch(text, *arguments))
    for (text,) in await fetch(statements.document, *arguments):
        builder.add(json.loads(text))
    return builder


def scope_arguments(context: Any, version_table: str) -> tuple[Any, ...]:
    """Return the first parameters of the queries for objects."""
    return context["schema"], [version_table, *OWN_TABLES], context["role"]


class SnapshotBuilder:
    """Collects rows of a database; `owner` is the owner of the version table."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.objects: dict[ObjectKey, dict[str, str | None]] = {}
        self.unmodelled: dict[str, int] = {}

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the rows of one query: kind, object, and fields."""
        if not rows:
            return
        _, _, *names = rows[0].keys()
        if rows[0]["kind"] == "unmodelled":
            self.unmodelled |= {row["object"]: int(row["count"]) for row in rows}
            return
        for row in rows:
            kind, identity, *values = row.values()
            fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            if not _NAME_ROLES.isdisjoint(fields):
                _format_roles(fields, self.owner)
            key = ObjectKey(kind, identity)
            known = self.objects.setdefault(key, fields)
            if known is not fields:  # several queries can return fields of one object
                if any(known.get(name, value) != value for name, value in fields.items()):
                    self.unmodelled[f"namesake of {key}"] = 1
                known.update(fields)


def _format_roles(fields: dict[str, Any], owner: str) -> None:
    """Replace owners and privileges by texts that do not depend on the server."""
    object_owner = fields.pop("acl_of", None) or fields.get("owner") or fields.get("role")
    for name in _PRIVILEGES & fields.keys():
        fields[name] = format_acl(fields[name], owner, object_owner)
    for name in _ROLES & fields.keys():
        fields[name] = role(fields[name], owner)


async def object_ids(
    connection: asyncpg.Connection,
    version_table: str,
    version_table_schema: str | None,
    *,
    fetch: Fetch | None = None,
) -> dict[ObjectKey, ObjectAddress]:
    """Return the ids of the objects that `read_catalog` returns, and of some others; rare kinds have none."""
    fetch = fetch or connection.fetch
    async with read_transaction(connection):
        [context] = await fetch(queries.session_context(), version_table, version_table_schema)
        await connection.execute(PINS)
        rows = await fetch(queries.object_ids_query(), *scope_arguments(context, version_table))
    return {ObjectKey(r["kind"], r["object"]): (r["catalogue"], r["oid"], r["part"]) for r in rows}
