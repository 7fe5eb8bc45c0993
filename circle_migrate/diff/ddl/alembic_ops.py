"""Which of Alembic's operations says the same as a statement of a sketch."""

from __future__ import annotations

import re
from collections.abc import Callable

from circle_migrate.diff.ddl.column import named_not_null, own, table_of
from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.plan import ChangePlan
from circle_migrate.diff.ddl.python_code import call as call_code
from circle_migrate.diff.ddl.python_code import sql_text, string, strings
from circle_migrate.diff.ddl.sqlalchemy_types import type_code
from circle_migrate.diff.ddl.statement import Statement
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import IDENTIFIER, base_name, split_identity, unquote

_COLUMN_LIST = rf"{IDENTIFIER}(?:, {IDENTIFIER})*"
_INDEX = re.compile(
    rf"CREATE (UNIQUE )?INDEX {IDENTIFIER} ON ({IDENTIFIER}\.{IDENTIFIER}) USING (\w+) "
    rf"\(({_COLUMN_LIST})\)(?: WHERE \((.*)\))?"
)
_ADDED = re.compile(rf"ALTER TABLE .*? ADD CONSTRAINT {IDENTIFIER} (.*)", re.DOTALL)
_CHECK = re.compile(r"CHECK \((.*)\)", re.DOTALL)
_LISTED = re.compile(rf"(PRIMARY KEY|UNIQUE) \(({_COLUMN_LIST})\)")
_FOREIGN = re.compile(
    rf"FOREIGN KEY \(({_COLUMN_LIST})\) REFERENCES ({IDENTIFIER}\.{IDENTIFIER})\(({_COLUMN_LIST})\)"
    r"(?: ON UPDATE (CASCADE|RESTRICT|SET NULL|SET DEFAULT))?"
    r"(?: ON DELETE (CASCADE|RESTRICT|SET NULL|SET DEFAULT))?( DEFERRABLE)?( INITIALLY DEFERRED)?"
)
_ALTERED = re.compile(rf"ALTER TABLE .*? ALTER COLUMN {IDENTIFIER} (.*)", re.DOTALL)
_RETYPED = re.compile(r"TYPE (.*?)(?: USING (.*))?")
_COMPUTED = re.compile(r"GENERATED ALWAYS AS \((.*)\) STORED", re.DOTALL)
_KINDS = {
    "primary key": "primary",
    "unique": "unique",
    "check": "check",
    "foreign key": "foreignkey",
}
_BEYOND_COLUMNS = (
    "partition_of",
    "partition_key",
    "inherits",
    "of_type",
    "access_method",
    "tablespace",
    "options",
    "persistence",
)
"""What a table has that op.create_table takes no argument for, or another spelling of."""


def _create_table(plan: ChangePlan, statement: Statement, default: str | None) -> str | None:
    fields = plan.after.objects[statement.key]
    if any(fields.get(name) for name in _BEYOND_COLUMNS):
        return None
    columns = [_column(plan.after, key) for key in plan.after.parts_of(statement.key, "column")]
    if None in columns:
        return None
    name, *schema = _named(statement.key.identity, default)
    return call_code("op.create_table", [name, *filter(None, columns), *schema])


def _drop_table(_plan: ChangePlan, statement: Statement, default: str | None) -> str:
    return call_code("op.drop_table", _named(statement.key.identity, default))


def _column(catalog: Catalog, key: ObjectKey) -> str | None:
    """A column as code, None where something of it has no words in SQLAlchemy."""
    fields = catalog.objects[key]
    type_, more = type_code(fields.get("type") or ""), _value(fields)
    if type_ is None or more is None or fields.get("collation") or not own(fields):
        return None
    not_null = fields.get("not_null") and named_not_null(catalog, key) is None
    nullable = "nullable=False" if not_null else "nullable=True"
    return call_code("sa.Column", [string(unquote(base_name(key.identity))), type_, *more, nullable])


def _value(fields: Fields) -> list[str] | None:
    """Where a column's values come from: nothing, a default, an expression or a sequence."""
    if fields.get("generated"):
        match = _COMPUTED.fullmatch(fields["generated"] or "")
        return [f"sa.Computed({string(match[1])}, persisted=True)"] if match else None
    if fields.get("identity"):
        kinds = {"always": "True", "by default": "False"}
        always = kinds.get(fields["identity"] or "")
        return [f"sa.Identity(always={always})"] if always and not fields.get("identity_sequence") else None
    default = fields.get("default")
    return [f"server_default={sql_text(default)}"] if default else []


def _alter_table(plan: ChangePlan, statement: Statement, default: str | None) -> str | None:
    """What is done to a column: with the words behind its name."""
    key = statement.key
    table, column = table_of(key), string(unquote(base_name(key.identity)))
    if statement.sql.startswith(f"ALTER TABLE {table} ADD COLUMN "):
        code = _column(plan.after, key)
        name, *schema = _named(table, default)
        return call_code("op.add_column", [name, code, *schema]) if code else None
    if statement.sql == f"ALTER TABLE {table} DROP COLUMN {base_name(key.identity)}":
        name, *schema = _named(table, default)
        return call_code("op.drop_column", [name, column, *schema])
    match = _ALTERED.fullmatch(statement.sql)
    change = _change(match[1]) if match else None
    name, *schema = _named(table, default)
    return call_code("op.alter_column", [name, column, *change, *schema]) if change else None


def _change(words: str) -> list[str] | None:
    """The arguments of alter_column for what stands behind ALTER COLUMN and the name."""
    fixed = {
        "SET NOT NULL": "nullable=False",
        "DROP NOT NULL": "nullable=True",
        "DROP DEFAULT": "server_default=None",
    }
    if words in fixed:
        return [fixed[words]]
    if words.startswith("SET DEFAULT "):
        return [f"server_default={sql_text(words.removeprefix('SET DEFAULT '))}"]
    retyped = _RETYPED.fullmatch(words)
    type_ = type_code(retyped[1]) if retyped else None
    if retyped is None or type_ is None:
        return None
    return [f"type_={type_}", *([f"postgresql_using={string(retyped[2])}"] if retyped[2] else [])]


def _create_index(_plan: ChangePlan, statement: Statement, default: str | None) -> str | None:
    match = _INDEX.fullmatch(statement.sql)
    if match is None:
        return None
    unique, table, method, columns, condition = match.groups()
    name, *schema = _named(table, default)
    arguments = [string(unquote(base_name(statement.key.identity))), name, strings(_names(columns))]
    arguments += ["unique=True"] if unique else []
    arguments += [f"postgresql_using={string(method)}"] if method != "btree" else []
    arguments += [f"postgresql_where={sql_text(condition)}"] if condition else []
    return call_code("op.create_index", [*arguments, *schema])


def _drop_index(plan: ChangePlan, statement: Statement, default: str | None) -> str:
    owner = plan.before.owner_of(statement.key)
    table = string(unquote(base_name(owner.identity))) if owner else "None"
    name, *schema = _named(statement.key.identity, default)
    return call_code("op.drop_index", [name, f"table_name={table}", *schema])


def _change_constraint(plan: ChangePlan, statement: Statement, default: str | None) -> str | None:
    key = statement.key
    owner = plan.after.owner_of(key) or plan.before.owner_of(key)
    if owner is None or owner.kind != "table":
        return None
    (table, *schema), name = _named(owner.identity, default), string(unquote(base_name(key.identity)))
    if statement.sql == f"ALTER TABLE {owner.identity} DROP CONSTRAINT {base_name(key.identity)}":
        kind = _KINDS.get(plan.before.value(key, "type") or "")
        arguments = [name, table, f"type_={string(kind)}"] if kind else [name, table]
        return call_code("op.drop_constraint", [*arguments, *schema])
    match = _ADDED.fullmatch(statement.sql)
    return _add_constraint(name, owner.identity, match[1], default) if match else None


def _add_constraint(name: str, table: str, definition: str, default: str | None) -> str | None:
    name_of_table, *schema = _named(table, default)
    listed = _LISTED.fullmatch(definition)
    if listed:
        function = "op.create_primary_key" if listed[1] == "PRIMARY KEY" else "op.create_unique_constraint"
        return call_code(function, [name, name_of_table, strings(_names(listed[2])), *schema])
    foreign = _FOREIGN.fullmatch(definition)
    if foreign:
        return _foreign_key(name, table, foreign, default)
    check = _CHECK.fullmatch(definition)
    if check:
        return call_code("op.create_check_constraint", [name, name_of_table, sql_text(check[1]), *schema])
    return None


def _foreign_key(name: str, table: str, match: re.Match[str], default: str | None) -> str:
    columns, referent, referred, on_update, on_delete, deferrable, deferred = match.groups()
    arguments = [name, string(unquote(base_name(table))), string(unquote(base_name(referent)))]
    arguments += [strings(_names(columns)), strings(_names(referred))]
    arguments += [f"onupdate={string(on_update)}"] if on_update else []
    arguments += [f"ondelete={string(on_delete)}"] if on_delete else []
    arguments += ["deferrable=True"] if deferrable else []
    arguments += ['initially="DEFERRED"'] if deferred else []
    arguments += [f"source_{each}" for each in _named(table, default)[1:]]
    arguments += [f"referent_{each}" for each in _named(referent, default)[1:]]
    return call_code("op.create_foreign_key", arguments)


def _named(identity: str, default: str | None) -> list[str]:
    """A table as the arguments name and schema; the default schema is left out."""
    schema, name = (unquote(part) for part in split_identity(identity))
    return [string(name), *([] if schema == default else [f"schema={string(schema)}"])]


def _names(columns: str) -> list[str]:
    return [unquote(name) for name in re.findall(IDENTIFIER, columns)]


_WRITERS: dict[tuple[str, str], Callable[[ChangePlan, Statement, str | None], str | None]] = {
    ("CREATE TABLE", "table"): _create_table,
    ("DROP TABLE", "table"): _drop_table,
    ("ALTER TABLE", "column"): _alter_table,
    ("CREATE INDEX", "index"): _create_index,
    ("CREATE UNIQUE", "index"): _create_index,
    ("DROP INDEX", "index"): _drop_index,
    ("ALTER TABLE", "constraint"): _change_constraint,
}


def call(plan: ChangePlan, statement: Statement, default: str | None) -> str | None:
    """The operation, None where only the SQL itself says it; `default` is the schema that is not named."""
    write = _WRITERS.get((" ".join(statement.sql.split(" ", 2)[:2]), statement.key.kind))
    return write(plan, statement, default) if write else None
