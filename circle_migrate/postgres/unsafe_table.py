"""Tables and schemas of ours that are unsafe to write: another role controls them, or they run code."""

from __future__ import annotations

from typing import NamedTuple, Self

from circle_migrate.core.errors import Refused
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.journal_tables import KEPT_SCHEMA, NAMES, OWN_SCHEMAS, OWN_TABLES
from circle_migrate.postgres.search_path import TRUSTED_OWNERS

OBJECTS = f"""
SELECT object.schema, object.name, object.ordinary, object.writable, owner.rolname AS owner,
       owner.oid IN ({TRUSTED_OWNERS}) AS trusted,
       (SELECT min(tgname::text) FROM pg_catalog.pg_trigger
        WHERE tgrelid = object.oid AND NOT tgisinternal) AS trigger,
       (SELECT min(rulename::text) FROM pg_catalog.pg_rewrite WHERE ev_class = object.oid) AS rule
FROM (
    SELECT nspname AS schema, NULL::name AS name, true AS ordinary, NULL::oid AS oid, nspowner AS owner,
           has_schema_privilege(oid, 'CREATE') AS writable
    FROM pg_catalog.pg_namespace WHERE nspname = $5 OR nspname IN {OWN_SCHEMAS}
    UNION ALL
    SELECT n.nspname, c.relname, c.relkind = 'r', c.oid, c.relowner, has_table_privilege(c.oid, 'INSERT')
    FROM own CROSS JOIN pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND (n.nspname = own.schema AND (c.relname = $1 OR c.relname IN {OWN_TABLES})
           OR n.nspname = '{KEPT_SCHEMA}'
           OR (n.nspname = $5 OR n.nspname IN {OWN_SCHEMAS}) AND c.relname IN {NAMES})
) object JOIN pg_catalog.pg_roles owner ON owner.oid = object.owner
"""  # noqa: S608 - constants
"""Our tables and schemas; $1 is the version table, $5 the schema of the setting journal-schema.

The role, roles that it is a member of, the owner of the database and superusers may own them.
"""

COLUMNS = """
    (SELECT to_json(object)::text FROM objects object
     WHERE NOT ordinary OR NOT trusted OR trigger IS NOT NULL OR rule IS NOT NULL
     ORDER BY schema, name NULLS FIRST LIMIT 1) AS unsafe_table,
    NOT (EXISTS (SELECT FROM objects WHERE writable)
         OR NOT EXISTS (SELECT FROM objects WHERE schema = own.schema AND name = $1)
            AND coalesce(has_schema_privilege(to_regnamespace(quote_ident(own.schema)), 'CREATE'), true)
    ) AS reads_only
"""
"""The columns of the state from `objects`: the first unsafe one as JSON, and whether the role writes none."""


class UnsafeTable(NamedTuple):
    """A table or, without a name, a schema, and why it is unsafe."""

    schema: str
    name: str | None
    ordinary: bool
    writable: bool
    owner: str
    trusted: bool
    trigger: str | None
    rule: str | None

    @classmethod
    def from_row(cls, text: str) -> Self:
        """Parse a row of `OBJECTS`, which the server prints as JSON."""
        import json

        return cls(**json.loads(text))

    def error(self, database: str, role: str, journal_schema: str) -> Refused:
        """Return the error of every command that would write it as this role.

        A journal that was moved out of `journal_schema` is moved back: the schema is not ours.
        """
        kind, name = "SCHEMA", quote(self.schema)
        if self.name:
            kind, name = "TABLE", f"{name}.{quote(self.name)}"
        if not self.ordinary:
            reason, hint = "is not an ordinary table", "rename or drop it, after you have read its definition"
        elif not self.trusted:
            reason = "belongs to a role that could run statements as this role"
            hint = f"if its contents are right: ALTER {kind} {name} OWNER TO {quote(role)};"
            if kind == "SCHEMA" and self.schema not in (journal_schema, KEPT_SCHEMA):
                moves = (f"ALTER TABLE {name}.{table} SET SCHEMA {quote(journal_schema)};" for table in NAMES)
                hint = f"move the journal, or those of its tables that exist: {' '.join(moves)}"
        elif self.trigger:
            reason = f"has the trigger {self.trigger}"
            hint = f"DROP TRIGGER {quote(self.trigger)} ON {name};"
        else:
            reason, hint = f"has the rule {self.rule}", f"DROP RULE {quote(self.rule or '')} ON {name};"
        message = f"{database}: {name}, whose owner is {self.owner}, {reason}"
        return Refused(message, database=database, hint=hint)
