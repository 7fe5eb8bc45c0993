"""Tables and schemas of ours that are unsafe to write: another role controls them, or they run code."""

from __future__ import annotations

from typing import NamedTuple, Self

from circle_migrate.core.errors import Refused
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.journal_tables import KEPT_SCHEMA, NAMES, OWN_SCHEMAS, OWN_TABLES

# A table that was given to the role keeps expressions that call what its former owner can still replace.
_CALLED = """
SELECT min(pg_describe_object(refclassid, refobjid, 0))
FROM pg_catalog.pg_depend
WHERE (classid, objid) IN (
    SELECT 'pg_attrdef'::regclass::oid, oid FROM pg_catalog.pg_attrdef WHERE adrelid = object.oid
    UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_catalog.pg_constraint WHERE conrelid = object.oid
    UNION ALL SELECT 'pg_class'::regclass, indexrelid FROM pg_catalog.pg_index WHERE indrelid = object.oid
    UNION ALL SELECT 'pg_policy'::regclass, oid FROM pg_catalog.pg_policy WHERE polrelid = object.oid
) AND CASE refclassid
    WHEN 'pg_proc'::regclass THEN (SELECT proowner FROM pg_catalog.pg_proc WHERE oid = refobjid)
    WHEN 'pg_operator'::regclass THEN (SELECT oprowner FROM pg_catalog.pg_operator WHERE oid = refobjid)
    WHEN 'pg_type'::regclass THEN (SELECT typowner FROM pg_catalog.pg_type WHERE oid = refobjid)
END NOT IN (TABLE trusted)
"""

OBJECTS = f"""
SELECT object.schema, object.name, object.ordinary, object.writable, owner.rolname AS owner,
       owner.oid IN (TABLE trusted) AS trusted,
       (SELECT min(tgname::text) FROM pg_catalog.pg_trigger
        WHERE tgrelid = object.oid AND NOT tgisinternal) AS trigger,
       (SELECT min(rulename::text) FROM pg_catalog.pg_rewrite WHERE ev_class = object.oid) AS rule,
       ({_CALLED}) AS called
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

`trusted` has the roles that may own them, as `TRUSTED_OWNERS` does.
"""

COLUMNS = """
    (SELECT to_json(object)::text FROM objects object
     WHERE NOT ordinary OR NOT trusted OR trigger IS NOT NULL OR rule IS NOT NULL
        OR called IS NOT NULL
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
    called: str | None

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
        elif self.rule:
            reason, hint = f"has the rule {self.rule}", f"DROP RULE {quote(self.rule)} ON {name};"
        else:
            reason = f"calls {self.called}, whose owner could run statements as this role"
            hint = "drop the default, constraint, index or policy that calls it, after you have read it"
        message = f"{database}: {name}, whose owner is {self.owner}, {reason}"
        return Refused(message, database=database, hint=hint)
