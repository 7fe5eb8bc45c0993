"""One reading of a catalogue over an open connection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from circle_migrate.postgres.catalog import queries
from circle_migrate.postgres.catalog.acl import format_acl, role
from circle_migrate.postgres.catalog.queries import PINS, read_transaction
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey, Snapshot
from circle_migrate.postgres.database import OWN_TABLES

if TYPE_CHECKING:
    import asyncpg

_UNMODELLED = "unmodelled"

_ROLES = {"owner", "role"}
_PRIVILEGES = {"acl", "sequence_acl"}
_NAME_ROLES = _ROLES | _PRIVILEGES


async def read_catalog(
    connection: asyncpg.Connection,
    database: str,
    origin: str,
    *,
    version_table: str,
    version_table_schema: str | None,
    revisions: tuple[str, ...] | None = None,
) -> Snapshot:
    """Everything the connection's database consists of; its transaction and settings are left as they were.

    Left out are extensions' objects, temporary ones, the version table and the journal. Raises what the
    driver raises: `snapshot` is what answers for a database that others work on.
    """
    async with read_transaction(connection):
        place = await connection.fetchrow(queries.session_context(), version_table, version_table_schema)
        await connection.execute(PINS)
        statements = queries.catalogue(place["version"] // 10000, frozenset(place["used"]))
        arguments = (place["schema"], [version_table, *OWN_TABLES], place["role"])
        snapshot_builder = _SnapshotBuilder(place["owner"])
        for text in statements.tables:  # one after the other, so that their rows share the memory
            snapshot_builder.add(await connection.fetch(text, *arguments))
        for (text,) in await connection.fetch(statements.document, *arguments):
            snapshot_builder.add(json.loads(text))
    return Snapshot(
        database, origin, place["version"], snapshot_builder.objects, revisions, snapshot_builder.unmodelled
    )


class _SnapshotBuilder:
    """What has been read so far of a database whose version table belongs to `owner`."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.objects: dict[ObjectKey, dict[str, str | None]] = {}
        self.unmodelled: dict[str, int] = {}

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take up the rows of one query: kind, object, and fields of the same names."""
        if not rows:
            return
        _, _, *names = rows[0].keys()
        if rows[0]["kind"] == _UNMODELLED:
            self.unmodelled |= {row["object"]: int(row["count"]) for row in rows}
            return
        for row in rows:
            kind, identity, *values = row.values()
            fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            if not _NAME_ROLES.isdisjoint(fields):
                _write_roles(fields, self.owner)
            self._keep(ObjectKey(kind, identity), fields)

    def _keep(self, key: ObjectKey, fields: dict[str, str | None]) -> None:
        known = self.objects.setdefault(key, fields)
        if known is not fields:  # several queries may each say something of an object
            if _contradict(known, fields):
                self.unmodelled[f"namesake of {key}"] = 1
            known.update(fields)


def _contradict(known: Fields, fields: Fields) -> bool:
    """Whether two rows are of two objects, of which the name tells one alone."""
    return any(known.get(name, value) != value for name, value in fields.items())


def _write_roles(fields: dict[str, Any], owner: str) -> None:
    """Replace what PostgreSQL says of owners and privileges by words that are the same on every server."""
    belongs_to = fields.pop("acl_of", None) or fields.get("owner") or fields.get("role")
    for name in _PRIVILEGES & fields.keys():
        fields[name] = format_acl(fields[name], owner, belongs_to)
    for name in _ROLES & fields.keys():
        fields[name] = role(fields[name], owner)
