"""Alembic operations that are equivalent to SQL statements."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from circle_migrate.diff.ddl.column import is_local, is_not_null, table_of
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
_ADD_CONSTRAINT = re.compile(rf"ALTER TABLE .*? ADD CONSTRAINT {IDENTIFIER} (.*)", re.DOTALL)
_CHECK = re.compile(r"CHECK \((.*)\)", re.DOTALL)
_KEY = re.compile(rf"(PRIMARY KEY|UNIQUE) \(({_COLUMN_LIST})\)")
_FOREIGN_KEY = re.compile(
    rf"FOREIGN KEY \(({_COLUMN_LIST})\) REFERENCES ({IDENTIFIER}\.{IDENTIFIER})\(({_COLUMN_LIST})\)"
    r"(?: ON UPDATE (CASCADE|RESTRICT|SET NULL|SET DEFAULT))?"
    r"(?: ON DELETE (CASCADE|RESTRICT|SET NULL|SET DEFAULT))?( DEFERRABLE)?( INITIALLY DEFERRED)?"
)
_ALTER_COLUMN = re.compile(rf"ALTER TABLE .*? ALTER COLUMN {IDENTIFIER} (.*)", re.DOTALL)
_TYPE = re.compile(r"TYPE (.*?)(?: USING (.*))?")
_GENERATED = re.compile(r"GENERATED ALWAYS AS \((.*)\) STORED", re.DOTALL)
_CONSTRAINT_TYPES = {
    "primary key": "primary",
    "unique": "unique",
    "check": "check",
    "foreign key": "foreignkey",
}
_COLUMN_ACTIONS = {
    "SET NOT NULL": "nullable=False",
    "DROP NOT NULL": "nullable=True",
    "DROP DEFAULT": "server_default=None",
}
_NOT_IN_CREATE_TABLE = (
    "partition_of",
    "partition_key",
    "inherits",
    "of_type",
    "access_method",
    "tablespace",
    "options",
    "persistence",
)
"""Fields of a table that op.create_table has no argument for."""


def _create_table(plan: ChangePlan, statement: Statement, default: str | None) -> str | None:
    fields = plan.after.objects[statement.key]
    columns = [_column(plan.after, key) for key in plan.after.parts_of(statement.key, "column")]
    if None in columns or any(fields.get(name) for name in _NOT_IN_CREATE_TABLE):
        return None
    return _call("op.create_table", statement.key.identity, default, *filter(None, columns))


def _drop_table(_plan: ChangePlan, statement: Statement, default: str | None) -> str:
    return _call("op.drop_table", statement.key.identity, default)


def _column(catalog: Catalog, key: ObjectKey) -> str | None:
    """Return an `sa.Column`, None if SQLAlchemy cannot express the column."""
    fields = catalog.objects[key]
    type_, value = type_code(fields.get("type") or ""), _value_arguments(fields)
    if type_ is None or value is None or fields.get("collation") or not is_local(fields):
        return None
    return call_code("sa.Column", [_name(key), type_, *value, f"nullable={not is_not_null(catalog, key)}"])


def _value_arguments(fields: Fields) -> list[str] | None:
    """Return the arguments for a generated value, an identity or a default; None if there is none for it."""
    if fields.get("generated"):
        match = _GENERATED.fullmatch(fields["generated"] or "")
        return [f"sa.Computed({string(match[1])}, persisted=True)"] if match else None
    if fields.get("identity"):
        always = {"always": "True", "by default": "False"}.get(fields["identity"] or "")
        return [f"sa.Identity(always={always})"] if always and not fields.get("identity_sequence") else None
    default = fields.get("default")
    return [f"server_default={sql_text(default)}"] if default else []


def _alter_table(plan: ChangePlan, statement: Statement, default: str | None) -> str | None:
    """Return the operation that adds, drops or alters a column."""
    key, table = statement.key, table_of(statement.key)
    if statement.sql.startswith(f"ALTER TABLE {table} ADD COLUMN "):
        column = _column(plan.after, key)
        return _call("op.add_column", table, default, column) if column else None
    if statement.sql == f"ALTER TABLE {table} DROP COLUMN {base_name(key.identity)}":
        return _call("op.drop_column", table, default, _name(key))
    match = _ALTER_COLUMN.fullmatch(statement.sql)
    arguments = _alter_arguments(match[1]) if match else None
    return _call("op.alter_column", table, default, _name(key), *arguments) if arguments else None


def _alter_arguments(action: str) -> list[str] | None:
    """Return the arguments of op.alter_column for an action of ALTER COLUMN."""
    if action in _COLUMN_ACTIONS:
        return [_COLUMN_ACTIONS[action]]
    if action.startswith("SET DEFAULT "):
        return [f"server_default={sql_text(action.removeprefix('SET DEFAULT '))}"]
    match = _TYPE.fullmatch(action)
    type_ = type_code(match[1]) if match else None
    if match is None or type_ is None:
        return None
    return [f"type_={type_}", *([f"postgresql_using={string(match[2])}"] if match[2] else [])]


def _create_index(_plan: ChangePlan, statement: Statement, default: str | None) -> str | None:
    match = _INDEX.fullmatch(statement.sql)
    if match is None:
        return None
    unique, table, method, columns, condition = match.groups()
    arguments = [strings(_column_names(columns))]
    arguments += ["unique=True"] if unique else []
    arguments += [f"postgresql_using={string(method)}"] if method != "btree" else []
    arguments += [f"postgresql_where={sql_text(condition)}"] if condition else []
    return _call("op.create_index", table, default, *arguments, first=[_name(statement.key)])


def _drop_index(plan: ChangePlan, statement: Statement, default: str | None) -> str:
    owner = plan.before.owner_of(statement.key)
    table = f"table_name={_name(owner) if owner else None}"
    return _call("op.drop_index", statement.key.identity, default, table)


def _change_constraint(plan: ChangePlan, statement: Statement, default: str | None) -> str | None:
    key = statement.key
    owner = plan.after.owner_of(key) or plan.before.owner_of(key)
    if owner is None or owner.kind != "table":
        return None
    table, first = owner.identity, [_name(key)]
    if statement.sql == f"ALTER TABLE {table} DROP CONSTRAINT {base_name(key.identity)}":
        type_ = _CONSTRAINT_TYPES.get(plan.before.value(key, "type") or "")
        arguments = [f"type_={string(type_)}"] if type_ else []
        first = _final(first) if type_ == "check" else first
        return _call("op.drop_constraint", table, default, *arguments, first=first)
    match = _ADD_CONSTRAINT.fullmatch(statement.sql)
    definition = match[1] if match else ""
    if match := _KEY.fullmatch(definition):
        function = "op.create_primary_key" if match[1] == "PRIMARY KEY" else "op.create_unique_constraint"
        return _call(function, table, default, strings(_column_names(match[2])), first=first)
    if match := _CHECK.fullmatch(definition):
        return _call("op.create_check_constraint", table, default, sql_text(match[1]), first=_final(first))
    match = _FOREIGN_KEY.fullmatch(definition)
    return _create_foreign_key(key, table, match, default) if match else None


def _final(names: list[str]) -> list[str]:
    """Return names of checks, to which a naming convention adds nothing more."""
    return [f"op.f({name})" for name in names]


def _create_foreign_key(key: ObjectKey, table: str, match: re.Match[str], default: str | None) -> str:
    columns, referent, referred, on_update, on_delete, deferrable, deferred = match.groups()
    source, *source_schema = _table_arguments(table, default)
    target, *target_schema = _table_arguments(referent, default)
    arguments = [
        _name(key),
        source,
        target,
        strings(_column_names(columns)),
        strings(_column_names(referred)),
    ]
    arguments += [f"onupdate={string(on_update)}"] if on_update else []
    arguments += [f"ondelete={string(on_delete)}"] if on_delete else []
    arguments += ["deferrable=True"] if deferrable else []
    arguments += ['initially="DEFERRED"'] if deferred else []
    arguments += [f"source_{schema}" for schema in source_schema]
    arguments += [f"referent_{schema}" for schema in target_schema]
    return call_code("op.create_foreign_key", arguments)


def _call(
    function: str, relation: str, default: str | None, *arguments: str, first: Sequence[str] = ()
) -> str:
    """Return a call with `first`, the name of the relation, `arguments` and the schema of the relation."""
    name, *schema = _table_arguments(relation, default)
    return call_code(function, [*first, name, *arguments, *schema])


def _table_arguments(identity: str, default: str | None) -> list[str]:
    """Return the name of a relation and its schema argument, without the default schema."""
    schema, name = (unquote(part) for part in split_identity(identity))
    return [string(name), *([] if schema == default else [f"schema={string(schema)}"])]


def _name(key: ObjectKey) -> str:
    return string(unquote(base_name(key.identity)))


def _column_names(columns: str) -> list[str]:
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
    """Return the operation for a statement, None if Alembic has none; `default` is the schema to omit."""
    write = _WRITERS.get((" ".join(statement.sql.split(" ", 2)[:2]), statement.key.kind))
    return write(plan, statement, default) if write else None
