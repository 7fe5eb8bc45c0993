"""Relations of a database as a trace sees them: which there are, what a transaction holds on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circle_migrate.core.traces import Lock
from circle_migrate.database import OWN_TABLES

if TYPE_CHECKING:
    import asyncpg

_RELATIONS = """
SELECT c.oid::bigint AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, c.relname,
       c.relkind::text AS kind, pg_relation_filenode(c.oid)::bigint AS file,
       pg_table_is_visible(c.oid) AS visible
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema'
  AND c.relname <> ALL ($1::text[])
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class owner ON owner.oid = d.refobjid
      WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND c.relkind = 'S' AND owner.relname = ANY ($1::text[])
  )
"""

# Counts of the running transaction alone; a row of a catalogue counts when it is written, so that their sum
# changes with any DDL, however hidden.
_HELD = """
SELECT 0::bigint AS oid, NULL::text[] AS modes, NULL::bigint AS file, 0::bigint AS scans,
       (SELECT sum(pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
                   + pg_stat_get_xact_tuples_deleted(oid))::bigint
        FROM pg_catalog.pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r') AS written
UNION ALL
SELECT oid, modes, pg_relation_filenode(oid::oid)::bigint, scans, inserted
FROM (
    SELECT relation::bigint AS oid, array_agg(mode) AS modes
    FROM pg_catalog.pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted AND relation >= 16384
    GROUP BY relation
) locked FULL JOIN (
    SELECT oid::bigint AS oid, pg_stat_get_xact_numscans(oid) AS scans,
           pg_stat_get_xact_tuples_inserted(oid) AS inserted
    FROM pg_catalog.pg_class
    WHERE relkind IN ('r', 'm') AND oid >= 16384
      AND pg_stat_get_xact_numscans(oid) + pg_stat_get_xact_tuples_inserted(oid) > 0
) counted USING (oid)
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or sequence; `name` has its schema and is quoted, `file` is where its rows are kept.

    `visible` is what its name alone means under the search_path.
    """

    oid: int
    name: str
    relname: str
    kind: str
    file: int | None
    visible: bool

    @property
    def has_rows(self) -> bool:
        """Whether rows are kept in it, so that another file means that they were written again."""
        return self.kind in "rm"


@dataclass(frozen=True, slots=True)
class Held:
    """What a transaction has so far, by relation: lock modes, the file, how often it has read it whole.

    `inserted` counts the rows it has added to each, `catalogued` those it has written into catalogues. All
    empty outside of a transaction.
    """

    modes: Mapping[int, frozenset[str]] = field(default_factory=dict)
    files: Mapping[int, int | None] = field(default_factory=dict)
    scans: Mapping[int, int] = field(default_factory=dict)
    inserted: Mapping[int, int] = field(default_factory=dict)
    catalogued: int = 0

    def strongest(self, names: Mapping[int, str]) -> dict[str, Lock]:
        """The strongest mode on each of the relations that are named."""
        return {
            names[oid]: max(Lock[mode.removesuffix("Lock")] for mode in modes)
            for oid, modes in sorted(self.modes.items(), key=lambda item: names.get(item[0], ""))
            if oid in names
        }


async def relations(driver: asyncpg.Connection, version_table: str) -> dict[int, Relation]:
    """All relations of users by oid, without indexes, Alembic's table and the journal."""
    rows = await driver.fetch(_RELATIONS, [version_table, *OWN_TABLES])
    return {row["oid"]: Relation(*row) for row in rows}


async def held(driver: asyncpg.Connection) -> Held:
    """What the connection's transaction has so far; nothing can be asked in one that has failed."""
    from asyncpg import InFailedSQLTransactionError

    if not driver.is_in_transaction():
        return Held()
    try:
        total, *rows = await driver.fetch(_HELD)
    except InFailedSQLTransactionError:
        return Held()
    return Held(
        modes={row["oid"]: frozenset(row["modes"]) for row in rows if row["modes"]},
        files={row["oid"]: row["file"] for row in rows},
        scans={row["oid"]: row["scans"] or 0 for row in rows},
        inserted={row["oid"]: row["written"] or 0 for row in rows},
        catalogued=total["written"],
    )
