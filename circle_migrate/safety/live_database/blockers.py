"""Read the sessions and prepared transactions whose locks a plan would have to wait for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.postgres.database import Database
from circle_migrate.safety.live_database.record import Blocker
from circle_migrate.safety.trace.record import Lock

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
_HOLDERS = """
SELECT asked.name, replace(l.mode, 'Lock', '') AS mode, l.pid,
       a.usename AS role, a.application_name AS application, a.backend_type, a.state,
       a.query LIKE '%' || $2 || '%' AS wraparound, a.xact_start IS NULL AS hidden,
       p.gid, p.owner,
       coalesce(extract(epoch FROM clock_timestamp() - coalesce(p.prepared, a.xact_start)), 0)::float8 AS age
FROM (
    SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
) asked
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


async def find_blockers(
    database: Database, locks: Mapping[str, Lock], concurrent: Collection[str] = ()
) -> tuple[Blocker, ...]:
    """Return the sessions and prepared transactions that block these locks, by relation, the oldest first.

    `concurrent` are relations on which an index is built CONCURRENTLY, which also waits for their writers and
    for every older snapshot. An autovacuum ends when it blocks a lock and is left out, unless it prevents
    wraparound. A role without pg_read_all_stats does not see details of other roles' sessions. Raises what
    `bounded_read` raises.
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
