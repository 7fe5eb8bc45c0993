"""Read sizes, lock holders, sequences, domains, invalid indexes and publications from the live catalog."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.journal_tables import OWN_SCHEMAS, OWN_TABLES
from circle_migrate.postgres.sql_text import own_name
from circle_migrate.safety.live_database.record import Blocker, ColumnName, ObjectUsage, Size
from circle_migrate.safety.trace.record import Lock

NAMED = """
SELECT c.oid, c.relkind, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""

_INVALID = f"""
SELECT asked.name AS relation, named.name AS index
FROM ({NAMED}) asked JOIN pg_catalog.pg_index i ON i.indrelid = asked.oid AND NOT i.indisvalid
JOIN ({NAMED}) named ON named.oid = i.indexrelid
WHERE asked.name = ANY ($1) AND named.relkind = 'i' ORDER BY 1, 2
"""

_PUBLISHED = f"""
SELECT asked.name FROM ({NAMED}) asked WHERE asked.name = ANY ($1) AND EXISTS (
    SELECT FROM pg_catalog.pg_publication_tables t JOIN pg_catalog.pg_publication p USING (pubname)
    WHERE (p.pubupdate OR p.pubdelete)
      AND quote_ident(t.schemaname) || '.' || quote_ident(t.tablename) = asked.name
)
"""

_INHERITED = """
SELECT quote_ident(r.rolname) AS role,
       array_remove(array_agg(quote_ident(other.rolname)), NULL) AS inherited
FROM pg_catalog.pg_roles r
LEFT JOIN pg_catalog.pg_roles other ON other.oid <> r.oid AND pg_has_role(r.oid, other.oid, 'USAGE')
WHERE r.rolname = ANY ($1) OR quote_ident(r.rolname) = ANY ($1) GROUP BY 1
"""

_SEQUENCES = f"""
SELECT sequence.name AS sequence, owner.name AS relation, quote_ident(a.attname) AS column
FROM pg_catalog.pg_depend d
JOIN ({NAMED}) sequence ON sequence.oid = d.objid AND sequence.relkind = 'S'
JOIN ({NAMED}) owner ON owner.oid = d.refobjid
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
  AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0 ORDER BY 1
"""

# Rows of partitions and child tables are read with those of their parents, of which they inherit the columns.
_DOMAINS = f"""
SELECT quote_ident(n.nspname) || '.' || quote_ident(t.typname) AS domain,
       owner.name AS relation, quote_ident(a.attname) AS column
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
JOIN pg_catalog.pg_attribute a
    ON a.atttypid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attinhcount = 0
JOIN ({NAMED}) owner ON owner.oid = a.attrelid AND owner.relkind IN ('r', 'p', 'm')
WHERE t.typtype = 'd' AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, 3
"""

# pg_table_size opens the relation and would wait for an ACCESS EXCLUSIVE lock: of a locked relation the pages
# of its last VACUUM or ANALYZE are taken. The number of rows since then grows with the pages, as in the
# planner (estimate_rel_size in src/backend/optimizer/util/plancat.c); of a table that was never analysed the
# rows are taken that were written since the server collects statistics.
_SIZES = f"""
WITH RECURSIVE asked AS (
    SELECT c.oid, c.relkind, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm')
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname NOT IN {OWN_SCHEMAS}
      AND ($1::text[] IS NULL OR quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY ($1))
),
part AS (
    SELECT oid, oid AS root FROM asked
    UNION ALL
    SELECT i.inhrelid, part.root
    FROM part JOIN pg_catalog.pg_inherits i ON i.inhparent = part.oid
    JOIN asked ON asked.oid = part.root AND asked.relkind = 'p'
),
measured AS (
    SELECT part.root, c.reltuples, c.relpages, pg_catalog.pg_stat_get_live_tuples(c.oid) AS live_tuples,
           EXISTS (
               SELECT FROM pg_catalog.pg_locks l
               WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock'
                 AND l.pid IS DISTINCT FROM pg_backend_pid()
                 AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
           ) AS locked, c.oid
    FROM part JOIN pg_catalog.pg_class c ON c.oid = part.oid
    WHERE c.relkind IN ('r', 'm')
),
sized AS (
    SELECT root, reltuples, relpages, live_tuples,
           CASE WHEN locked THEN NULLIF(relpages, 0)::bigint * block ELSE pg_catalog.pg_table_size(oid)
           END AS bytes,
           CASE WHEN locked THEN 0 ELSE pg_catalog.pg_indexes_size(oid) END AS index_bytes,
           CASE WHEN locked THEN relpages ELSE pg_catalog.pg_relation_size(oid) / block END AS pages
    FROM measured, (SELECT current_setting('block_size')::bigint) AS of_server (block)
),
counted AS (
    SELECT root, bytes, index_bytes,
           CASE WHEN pages = 0 AND bytes IS NOT NULL THEN 0
                WHEN relpages > 0 AND reltuples >= 0 THEN round(reltuples::numeric / relpages * pages)
                WHEN live_tuples > 0 THEN live_tuples
           END AS rows
    FROM sized
)
SELECT asked.name, CASE WHEN count(root) = count(rows) THEN coalesce(sum(rows), 0)::bigint END AS rows,
       coalesce(sum(bytes), 0)::bigint AS bytes, coalesce(sum(index_bytes), 0)::bigint AS index_bytes
FROM asked LEFT JOIN counted ON counted.root = asked.oid
GROUP BY asked.name HAVING count(root) = count(bytes) ORDER BY asked.name
"""
CONFLICTS: Mapping[Lock, frozenset[Lock]] = {
    Lock.AccessShare: frozenset({Lock.AccessExclusive}),
    Lock.RowShare: frozenset({Lock.Exclusive, Lock.AccessExclusive}),
    Lock.RowExclusive: frozenset(lock for lock in Lock if lock >= Lock.Share),
    Lock.ShareUpdateExclusive: frozenset(lock for lock in Lock if lock >= Lock.ShareUpdateExclusive),
    Lock.Share: frozenset(lock for lock in Lock if lock >= Lock.RowExclusive) - {Lock.Share},
    Lock.ShareRowExclusive: frozenset(lock for lock in Lock if lock >= Lock.RowExclusive),
    Lock.Exclusive: frozenset(lock for lock in Lock if lock >= Lock.RowShare),
    Lock.AccessExclusive: frozenset(Lock),
}
"""The modes that a mode conflicts with, from table 13.2 of
https://www.postgresql.org/docs/current/explicit-locking.html.
"""

_WRAPAROUND = "to prevent wraparound"
# A prepared transaction has no process: its lock on its own transaction id leads to its other locks.
_HOLDERS = f"""
SELECT asked.name, replace(l.mode, 'Lock', '') AS mode, l.pid,
       a.usename AS role, a.application_name AS application, a.backend_type, a.state,
       a.query LIKE '%' || $2 || '%' AS wraparound, a.xact_start IS NULL AS hidden,
       p.gid, p.owner,
       coalesce(extract(epoch FROM clock_timestamp() - coalesce(p.prepared, a.xact_start)), 0)::float8 AS age
FROM ({NAMED}) asked
JOIN pg_catalog.pg_locks l ON l.relation = asked.oid AND l.locktype = 'relation' AND l.granted
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_catalog.pg_locks own
    ON own.locktype = 'transactionid' AND own.virtualtransaction = l.virtualtransaction
LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = own.transactionid
WHERE asked.name = ANY ($1) AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND (a.leader_pid IS NULL OR a.leader_pid = a.pid)
ORDER BY asked.name, age DESC, l.pid, l.mode
"""
# CREATE INDEX CONCURRENTLY also waits for every older snapshot in this database (WaitForOlderSnapshots in
# src/backend/commands/indexcmds.c).
_SNAPSHOTS = """
SELECT pid, usename AS role, application_name AS application, backend_type, state, false AS wraparound,
       xact_start IS NULL AS hidden, NULL AS gid, NULL AS owner,
       coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8 AS age
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
  AND backend_type = 'client backend' AND query NOT LIKE 'VACUUM%'
ORDER BY age DESC, pid
"""


async def object_usage(
    database: Database, relations: Iterable[str] = (), roles: Iterable[str] = ()
) -> ObjectUsage:
    """Return how objects are used; `relations` and `roles` are those asked for. Raises as `bounded_read`."""
    names = sorted(relations)
    async with bounded_read(database) as connection:
        sequences = await connection.fetch(_SEQUENCES)
        columns = await connection.fetch(_DOMAINS)
        published = await connection.fetch(_PUBLISHED, names)
        invalid = await connection.fetch(_INVALID, names)
        inherited = await connection.fetch(_INHERITED, sorted(roles))
    domains: dict[str, tuple[ColumnName, ...]] = {}
    for row in columns:
        domains[row["domain"]] = (*domains.get(row["domain"], ()), ColumnName(row["relation"], row["column"]))
    owned = {row["sequence"]: ColumnName(row["relation"], row["column"]) for row in sequences}
    return ObjectUsage(
        owned,
        domains,
        published=frozenset(row["name"] for row in published),
        invalid_indexes=tuple((row["relation"], row["index"]) for row in invalid),
        inherited_roles={row["role"]: frozenset(row["inherited"]) for row in inherited},
    )


async def relation_sizes(database: Database, relations: Iterable[str] | None = None) -> dict[str, Size]:
    """Return the sizes of these relations, or of all tables and materialized views except our own tables.

    The size of a partitioned table is the sum of its partitions. Relations that do not exist are left out,
    and those whose size is unknown, as they are locked. Raises what `bounded_read` raises.
    """
    names = None if relations is None else sorted(set(relations))
    if names == []:
        return {}
    async with bounded_read(database) as connection:
        rows = await connection.fetch(_SIZES, names)
    ours = {database.settings.version_table, *OWN_TABLES} if names is None else set()
    sizes = ((row["name"], Size(*row)) for row in rows)
    return {name: size for name, size in sizes if own_name(name) not in ours}


async def find_blockers(
    database: Database, locks: Mapping[str, Lock], concurrent: Collection[str] = ()
) -> tuple[Blocker, ...]:
    """Return the sessions and prepared transactions that block these locks, by relation, the oldest first.

    `concurrent` are relations on which an index is built CONCURRENTLY, which also waits for their writers and
    for every older snapshot. An autovacuum is left out unless it prevents wraparound: it ends when it blocks
    a lock. A role without pg_read_all_stats sees no details of other roles. Raises what `bounded_read`
    raises.
    """
    modes = {**locks, **{name: max(Lock.Share, locks.get(name, Lock.Share)) for name in concurrent}}
    if not modes:
        return ()
    async with bounded_read(database) as connection:
        holders = await connection.fetch(_HOLDERS, sorted(modes), _WRAPAROUND)
        snapshots = await connection.fetch(_SNAPSHOTS) if concurrent else ()
    blockers = [
        Blocker(row["name"], Lock[row["mode"]], _describe(row), row["age"])
        for row in holders
        if Lock[row["mode"]] in CONFLICTS[modes[row["name"]]]
        and (row["backend_type"] != "autovacuum worker" or row["wraparound"])
    ]
    known = {(blocker.relation, blocker.who) for blocker in blockers}
    waits = (
        Blocker(name, None, _describe(row), row["age"]) for name in sorted(concurrent) for row in snapshots
    )
    blockers += (blocker for blocker in waits if (blocker.relation, blocker.who) not in known)
    return tuple(blockers)


def _describe(row: Any) -> str:
    """Describe a session or prepared transaction, without its query."""
    if row["gid"] is not None:
        return f"prepared transaction {row['gid']} of role {row['owner']}"
    if row["wraparound"]:
        return f"pid {row['pid']}: autovacuum {_WRAPAROUND}"
    parts = [row["application"], f"role {row['role']}" if row["role"] else row["backend_type"], row["state"]]
    if row["hidden"]:
        parts.append("details are hidden from this role: GRANT pg_read_all_stats")
    details = ", ".join(filter(None, parts))
    return f"pid {row['pid']} ({details})" if details else f"pid {row['pid']}"
