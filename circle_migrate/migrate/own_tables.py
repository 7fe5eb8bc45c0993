"""Check that no other role controls the tables that a run writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.journal_tables import OWN_SCHEMAS, OWN_TABLES

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import State

# pg_has_role says yes to a superuser for every role, so memberships are read.
_OBJECTS = f"""
WITH RECURSIVE own (oid) AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user
    UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN own ON m.member = own.oid
)
SELECT object.schema, object.name, object.ordinary, owner.rolname AS owner,
       owner.rolsuper OR owner.oid IN (SELECT oid FROM own) OR owner.oid = (
           SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database()
       ) AS trusted,
       (SELECT min(tgname::text) FROM pg_catalog.pg_trigger
        WHERE tgrelid = object.oid AND NOT tgisinternal) AS trigger,
       (SELECT min(rulename::text) FROM pg_catalog.pg_rewrite WHERE ev_class = object.oid) AS rule
FROM (
    SELECT nspname AS schema, NULL AS name, true AS ordinary, NULL::oid AS oid, nspowner AS owner
    FROM pg_catalog.pg_namespace WHERE nspname IN {OWN_SCHEMAS}
    UNION ALL
    SELECT n.nspname, c.relname, c.relkind = 'r', c.oid, c.relowner
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND (n.nspname = $1::text AND c.relname = ANY ($2::text[]) OR n.nspname IN {OWN_SCHEMAS})
) object JOIN pg_catalog.pg_roles owner ON owner.oid = object.owner
ORDER BY object.schema, object.name NULLS FIRST
"""  # noqa: S608 - constants


async def ensure_own_tables(connection: asyncpg.Connection, state: State) -> None:
    """Raise `Refused` for a table of ours that another role made, or that runs code when it is written.

    The role, roles that it is a member of, the owner of the database and superusers may own the tables and
    their schemas.
    """
    for row in await connection.fetch(_OBJECTS, state.schema, [state.version_table, *OWN_TABLES]):
        kind, name = "SCHEMA", quote(row["schema"])
        if row["name"]:
            kind, name = "TABLE", f"{name}.{quote(row['name'])}"
        if not row["ordinary"]:
            reason, hint = "is not an ordinary table", "rename or drop it, after you have read its definition"
        elif not row["trusted"]:
            reason = "belongs to a role that could run statements as this role"
            hint = f"if its contents are right: ALTER {kind} {name} OWNER TO {quote(state.role)};"
        elif row["trigger"]:
            reason = f"has the trigger {row['trigger']}"
            hint = f"DROP TRIGGER {quote(row['trigger'])} ON {name};"
        elif row["rule"]:
            reason, hint = f"has the rule {row['rule']}", f"DROP RULE {quote(row['rule'])} ON {name};"
        else:
            continue
        raise Refused(
            f"{state.database}: {name}, whose owner is {row['owner']}, {reason}",
            database=state.database,
            state="nothing was changed",
            hint=hint,
        )
