"""Python code that runs SQL statements: the equivalent Alembic operations, else `op.execute`."""

import re
from collections.abc import Sequence

from circle_migrate.diff.ddl.column import is_local, is_not_null, table_of
from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.plan import ChangePlan
from circle_migrate.diff.ddl.statement import Statement
from circle_migrate.diff.ddl.table import TABLE
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import IDENTIFIER, base_name, split_identity, unquote

# Bind parameters and escaped colons in SQLAlchemy's text(): sqlalchemy/sql/elements.py and compiler.py,
# BIND_PARAMS and BIND_PARAMS_ESC.
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w+(?!:))")
_ESCAPED = re.compile(r"\\(?=:[\w$]*(?![:\w$]))")

_WIDTH = 110


def text(sql: str) -> str:
    """Return SQL with the escapes that text() removes again."""
    return _PARAMETER.sub(r"\\:", _ESCAPED.sub(r"\\\\", sql))


def string(value: str) -> str:
    """Return a string literal; in triple quotes if it has several lines."""
    escaped = "".join(
        character if character == "\n" or character.isprintable() else ascii(character)[1:-1]
        for character in value.replace("\\", "\\\\")
    )
    quotes = '"""' if "\n" in value else '"'
    if quotes in value or value.endswith('"'):
        escaped = escaped.replace('"', '\\"')
    return f"{quotes}{escaped}{quotes}"


def sql_text(sql: str) -> str:
    """Return an `sa.text` call with an SQL expression."""
    return f"sa.text({string(text(sql))})"


def call(function: str, arguments: Sequence[str]) -> str:
    """Return a call in one line, or with one argument per line if that is too long."""
    line = f"{function}({', '.join(arguments)})"
    if len(line) < _WIDTH and not function.endswith("create_table"):
        return line
    return "\n".join([f"{function}(", *(f"    {argument}," for argument in arguments), ")"])


def indented(code: str, indent: str) -> str:
    """Return code with indentation; a multi-line string stays as it is."""
    if '"""' in code:
        return indent + code
    return "\n".join(indent + line for line in code.split("\n"))


_PLAIN = {
    "smallint": "sa.SmallInteger()",
    "integer": "sa.Integer()",
    "bigint": "sa.BigInteger()",
    "numeric": "sa.Numeric()",
    "real": "sa.REAL()",
    "double precision": "sa.Double()",
    "boolean": "sa.Boolean()",
    "text": "sa.Text()",
    "character varying": "sa.String()",
    "bytea": "sa.LargeBinary()",
    "date": "sa.Date()",
    "time without time zone": "sa.Time()",
    "timestamp without time zone": "sa.DateTime()",
    "timestamp with time zone": "sa.DateTime(timezone=True)",
    "uuid": "sa.Uuid()",
}
_DIALECT = re.compile("interval|jsonb?|inet|cidr|macaddr|tsvector|tsquery|(int4|int8|num|date|ts|tstz)range")
_WITH_ARGUMENTS = (
    (r"character varying\((\d+)\)", r"sa.String(length=\1)"),
    (r"character\((\d+)\)", r"sa.CHAR(length=\1)"),
    (r"numeric\((\d+),(-?\d+)\)", r"sa.Numeric(precision=\1, scale=\2)"),
    (r"timestamp\((\d)\) with time zone", r"postgresql.TIMESTAMP(timezone=True, precision=\1)"),
    (r"timestamp\((\d)\) without time zone", r"postgresql.TIMESTAMP(precision=\1)"),
)


def type_code(type_: str) -> str | None:
    """Return the code for a type as format_type() prints it, None if SQLAlchemy has no type for it."""
    if type_.endswith("[]"):
        element = type_code(type_.removesuffix("[]"))
        return f"postgresql.ARRAY({element})" if element else None
    for pattern, code in _WITH_ARGUMENTS:
        match = re.fullmatch(pattern, type_)
        if match:
            return match.expand(code)
    return f"postgresql.{type_.upper()}()" if _DIALECT.fullmatch(type_) else _PLAIN.get(type_)


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
_CONSTRAINTS = {"primary key": "primary", "foreign key": "foreignkey", "unique": "unique", "check": "check"}


def _create_table(plan: ChangePlan, key: ObjectKey, default: str | None) -> str | None:
    columns = [_column(plan.after, part) for part in plan.after.parts_of(key, "column")]
    # op.create_table has no arguments for what CREATE TABLE has beside the columns.
    if None in columns or any(map(plan.after.objects[key].get, TABLE.covers)):
        return None
    return _table_call("op.create_table", key.identity, default, *filter(None, columns))


def _column(catalog: Catalog, key: ObjectKey) -> str | None:
    """Return an `sa.Column`, None if SQLAlchemy cannot express the column."""
    fields = catalog.objects[key]
    type_, value = type_code(fields.get("type") or ""), _value_arguments(fields)
    if type_ is None or value is None or fields.get("collation") or not is_local(fields):
        return None
    return call("sa.Column", [_name(key), type_, *value, f"nullable={not is_not_null(catalog, key)}"])


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
        return _table_call("op.add_column", table, default, column) if column else None
    if statement.sql == f"ALTER TABLE {table} DROP COLUMN {base_name(key.identity)}":
        return _table_call("op.drop_column", table, default, _name(key))
    match = _ALTER_COLUMN.fullmatch(statement.sql)
    arguments = _alter_arguments(match[1]) if match else None
    return _table_call("op.alter_column", table, default, _name(key), *arguments) if arguments else None


def _alter_arguments(action: str) -> list[str] | None:
    """Return the arguments of op.alter_column for an action of ALTER COLUMN."""
    if action in {"SET NOT NULL", "DROP NOT NULL"}:
        return [f"nullable={action == 'DROP NOT NULL'}"]
    if action == "DROP DEFAULT":
        return ["server_default=None"]
    if action.startswith("SET DEFAULT "):
        return [f"server_default={sql_text(action.removeprefix('SET DEFAULT '))}"]
    match = _TYPE.fullmatch(action)
    type_ = type_code(match[1]) if match else None
    if match is None or type_ is None:
        return None
    return [f"type_={type_}", *([f"postgresql_using={string(match[2])}"] if match[2] else [])]


def _create_index(statement: Statement, default: str | None) -> str | None:
    match = _INDEX.fullmatch(statement.sql)
    if match is None:
        return None
    unique, table, method, columns, condition = match.groups()
    arguments = [_names(columns)]
    arguments += ["unique=True"] if unique else []
    arguments += [f"postgresql_using={string(method)}"] if method != "btree" else []
    arguments += [f"postgresql_where={sql_text(condition)}"] if condition else []
    return _table_call("op.create_index", table, default, *arguments, first=[_final_name(statement.key)])


def _change_constraint(plan: ChangePlan, statement: Statement, default: str | None) -> str | None:
    key = statement.key
    owner = plan.after.owner_of(key) or plan.before.owner_of(key)
    if owner is None or owner.kind != "table":
        return None
    table, first = owner.identity, [_final_name(key)]
    if statement.sql == f"ALTER TABLE {table} DROP CONSTRAINT {base_name(key.identity)}":
        type_ = _CONSTRAINTS.get(plan.before.value(key, "type") or "")
        arguments = [f"type_={string(type_)}"] if type_ else []
        return _table_call("op.drop_constraint", table, default, *arguments, first=first)
    match = _ADD_CONSTRAINT.fullmatch(statement.sql)
    definition = match[1] if match else ""
    if match := _KEY.fullmatch(definition):
        function = "op.create_primary_key" if match[1] == "PRIMARY KEY" else "op.create_unique_constraint"
        return _table_call(function, table, default, _names(match[2]), first=first)
    if match := _CHECK.fullmatch(definition):
        return _table_call("op.create_check_constraint", table, default, sql_text(match[1]), first=first)
    match = _FOREIGN_KEY.fullmatch(definition)
    return _create_foreign_key(key, table, match, default) if match else None


def _final_name(key: ObjectKey) -> str:
    """Return the name of a constraint or index, to which a naming convention adds nothing more."""
    return f"op.f({_name(key)})"


def _create_foreign_key(key: ObjectKey, table: str, match: re.Match[str], default: str | None) -> str:
    columns, referent, referred, on_update, on_delete, deferrable, deferred = match.groups()
    source, *source_schema = _table_arguments(table, default)
    target, *target_schema = _table_arguments(referent, default)
    arguments = [_final_name(key), source, target, _names(columns), _names(referred)]
    arguments += [f"onupdate={string(on_update)}"] if on_update else []
    arguments += [f"ondelete={string(on_delete)}"] if on_delete else []
    arguments += ["deferrable=True"] if deferrable else []
    arguments += ['initially="DEFERRED"'] if deferred else []
    arguments += [f"source_{schema}" for schema in source_schema]
    arguments += [f"referent_{schema}" for schema in target_schema]
    return call("op.create_foreign_key", arguments)


def _table_call(
    function: str, relation: str, default: str | None, *arguments: str, first: Sequence[str] = ()
) -> str:
    """Return a call with `first`, the name of the relation, `arguments` and the schema of the relation."""
    name, *schema = _table_arguments(relation, default)
    return call(function, [*first, name, *arguments, *schema])


def _table_arguments(identity: str, default: str | None) -> list[str]:
    """Return the name of a relation and its schema argument, without the default schema."""
    schema, name = (unquote(part) for part in split_identity(identity))
    return [string(name), *([] if schema == default else [f"schema={string(schema)}"])]


def _name(key: ObjectKey) -> str:
    return string(unquote(base_name(key.identity)))


def _names(columns: str) -> str:
    return f"[{', '.join(string(unquote(name)) for name in re.findall(IDENTIFIER, columns))}]"


def operation(plan: ChangePlan, statement: Statement, default: str | None) -> str:
    """Return the operation for a statement, else `op.execute`; `default` is the schema to omit."""
    key, code = statement.key, None
    match key.kind, statement.sql.partition(" ")[0]:
        case "table", "CREATE":
            code = _create_table(plan, key, default)
        case "table", "DROP":
            code = _table_call("op.drop_table", key.identity, default)
        case "column", "ALTER":
            code = _alter_table(plan, statement, default)
        case "index", "CREATE":
            code = _create_index(statement, default)
        case "index", "DROP":
            owner, schema = plan.before.owner_of(key), _table_arguments(key.identity, default)[1:]
            table = f"table_name={_name(owner) if owner else None}"
            code = call("op.drop_index", [_final_name(key), table, *schema])
        case "constraint", "ALTER":
            code = _change_constraint(plan, statement, default)
    return code or f"op.execute({string(text(statement.sql))})"
