"""What the project leaves out of comparisons, as the options of `context.configure` in an env.py do.

Alembic calls the functions with objects that it has reflected; here they get objects that are made from
snapshots, and those of the models. A function can leave out a difference, and never add one.
"""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import (
    CheckConstraint,
    Column,
    Constraint,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import NullType, TypeEngine

from circle_migrate.config.object_reference import load_function, load_models
from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.errors import SettingsError, text_of
from circle_migrate.diff.scope import ChangeSet, Models, without_fields
from circle_migrate.migrate.alembic_adapter.context import Context
from circle_migrate.postgres.catalog.snapshot import Change, Fields, ObjectKey, Op, Snapshot
from circle_migrate.postgres.identifier import IDENTIFIER, split_identity, unquote

_CONSTRAINTS = {
    "unique": "unique_constraint",
    "foreign key": "foreign_key_constraint",
    "check": "check_constraint",
}
"""Alembic's names of the kinds of constraints for which it calls the functions."""

_CLASSES: Mapping[str, type[SchemaItem]] = {
    "index": Index,
    "unique_constraint": UniqueConstraint,
    "foreign_key_constraint": ForeignKeyConstraint,
    "check_constraint": CheckConstraint,
}

_COLUMNS = re.compile(rf"\(({IDENTIFIER}(?:, {IDENTIFIER})*)")
_REFERENCES = re.compile(rf"REFERENCES ({IDENTIFIER}(?:\.{IDENTIFIER})*)(\([^)]*\))")
_IDENTIFIERS = re.compile(IDENTIFIER)
_TYPE = re.compile(r"(?P<name>[^(\[]+?)(?:\((?P<arguments>[^)]*)\))?(?P<rest> with[^\[]*)?(?P<array>(\[\])*)")


class Filters:
    """The filters of one database; `leave_out` is for `CompareOptions`."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self.default_schema = settings.default_schema or "public"

    @cached_property
    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """The functions by the names of their settings. Raises `SettingsError`."""
        names = ("include_object", "include_name", "compare_type", "compare_server_default")
        values = {name: getattr(self.settings, name) for name in names}
        return {
            name: load_function(self.settings, name)
            for name, value in values.items()
            if isinstance(value, str)
        }

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function; True without one. Raises `SettingsError` where it fails."""
        if name not in self.functions:
            return True
        try:
            return self.functions[name](*arguments)
        except Exception as error:
            key = name.replace("_", "-")
            raise SettingsError(
                f"{key} of {self.settings.name} fails",
                database=self.settings.name,
                detail=f"{type(error).__name__}: {text_of(error)}",
                hint=f"correct {getattr(self.settings, name)}: it gets what Alembic gives it",
            ) from error

    def leave_out(
        self, change_set: ChangeSet, before: Snapshot, after: Snapshot, models: Models | None
    ) -> None:
        """Remove the changes that the project leaves out, and note what they are."""
        comparison = _Comparison(self, before, after, models)
        if models is not None and not self.settings.include_schemas:
            others = [change for change in change_set.changes if comparison.is_elsewhere(change)]
            change_set.leave_out(others, "include-schemas is false")
        for name, includes in (("include-name", comparison.names), ("include-object", comparison.objects)):
            left_out = [change for change in change_set.changes if not includes(change)]
            change_set.leave_out(left_out, f"{name} leaves them out")
        if models is not None:
            change_set.keep(map(comparison.compared, change_set.changes))


class _Place(NamedTuple):
    """The schema and the table that an object belongs to; None without them."""

    schema: str | None
    table: ObjectKey | None


class _Comparison:
    """The answers of the functions about the changes between two snapshots."""

    def __init__(self, filters: Filters, before: Snapshot, after: Snapshot, models: Models | None) -> None:
        self._filters = filters
        metadata = load_models(filters.settings) if models is not None else ()
        wanted, database = (after, before) if models is Models.AFTER else (before, after)
        self._wanted = _Objects(wanted, filters.default_schema, metadata)
        self._database = _Objects(database, filters.default_schema)
        self._included: dict[ObjectKey, bool] = {}

    def _kind(self, key: ObjectKey) -> str | None:
        """Return Alembic's name of the kind of an object, None for one that it does not know."""
        values = (side.snapshot.value(key, "type") for side in (self._wanted, self._database))
        if key.kind == "constraint":
            return _CONSTRAINTS.get(next(filter(None, values), ""))
        return key.kind if key.kind in ("table", "column", "index") else None

    def _subject(self, change: Change) -> ObjectKey:
        """Return the object that the functions are asked about: for the index of a constraint, that."""
        values = (side.snapshot.value(change.key, "constraint") for side in (self._wanted, self._database))
        name = next(filter(None, values), None) if change.key.kind == "index" else None
        return (
            ObjectKey("constraint", f"{change.owner.identity}.{name}")
            if name and change.owner
            else change.key
        )

    def _place(self, change: Change) -> _Place:
        table = change.key if change.key.kind == "table" else change.owner
        parts = split_identity((table or change.key).identity)
        schema = change.key.identity if change.key.kind == "schema" else parts[0] if len(parts) > 1 else None
        return _Place(unquote(schema) if schema else None, table if table and table.kind == "table" else None)

    def is_elsewhere(self, change: Change) -> bool:
        """Return whether an object is in another schema than the default one."""
        return self._place(change).schema not in (None, self._filters.default_schema)

    def names(self, change: Change) -> bool:
        """Ask `include_name` about an object that the database has, its table and its schema."""
        schema, table = self._place(change)
        default = None if schema == self._filters.default_schema else schema
        call = self._filters.call
        asks_schemas = self._filters.settings.include_schemas and schema is not None
        if asks_schemas and not call("include_name", default, "schema", {}):
            return False
        if table is None or table not in self._database.snapshot.objects:
            return True
        name = _names(table)[-1]
        parents = {
            "schema_name": default,
            "schema_qualified_table_name": ".".join(filter(None, [default, name])),
        }
        if not call("include_name", name, "table", dict(parents)):
            return False
        key = self._subject(change)
        kind = self._kind(key)
        if kind in (None, "table") or key not in self._database.snapshot.objects:
            return True
        return bool(call("include_name", _names(key)[-1], kind, {"table_name": name, **parents}))

    def objects(self, change: Change) -> bool:
        """Ask `include_object` about an object and its table."""
        table = self._place(change).table
        if table is not None and table != change.key and not self._includes(table, "table"):
            return False
        key = self._subject(change)
        kind = self._kind(key)
        return kind is None or self._includes(key, kind)

    def _includes(self, key: ObjectKey, kind: str) -> bool:
        if key not in self._included:
            wanted, found = self._wanted.find(key, kind), self._database.find(key, kind)
            item, compare_to = (found, None) if wanted is None else (wanted, found)
            arguments = (item, _names(key)[-1], kind, wanted is None, compare_to)
            self._included[key] = item is None or bool(self._filters.call("include_object", *arguments))
        return self._included[key]

    def compared(self, change: Change) -> Change | None:
        """Return a change without what `compare_type` and `compare_server_default` leave out."""
        if change.op is not Op.CHANGED or change.key.kind != "column":
            return change
        settings, left_out = self._filters.settings, set[str]()
        options = {"compare_type": ("type", "collation"), "compare_server_default": ("default",)}
        for name, fields in options.items():
            value = getattr(settings, name)
            if value is False or (
                isinstance(value, str) and change.has(*fields) and not self._differs(name, change)
            ):
                left_out.update(fields)
        return without_fields(change, left_out)

    def _differs(self, name: str, change: Change) -> bool:
        """Ask a function, which may answer None to leave the decision to the comparison."""
        found, wanted = (side.find(change.key, "column") for side in (self._database, self._wanted))
        if not isinstance(found, Column) or not isinstance(wanted, Column):
            return True
        context = Context.offline({})
        arguments: tuple[Any, ...] = (context, found, wanted, found.type, wanted.type)
        if name == "compare_server_default":
            default = wanted.server_default
            rendered = getattr(default, "arg", None)
            if rendered is not None and not isinstance(rendered, str):
                rendered = str(
                    rendered.compile(dialect=context.dialect, compile_kwargs={"literal_binds": True})
                )
            stored = self._database.snapshot.value(change.key, "default")
            arguments = (context, found, wanted, stored, default, rendered)
        return self._filters.call(name, *arguments) is not False


class _Objects:
    """Tables and their parts as SQLAlchemy describes them: of the models, or else made from a snapshot."""

    def __init__(self, snapshot: Snapshot, default_schema: str, metadata: tuple[MetaData, ...] = ()) -> None:
        self.snapshot = snapshot
        self._default_schema = default_schema
        self._models: dict[tuple[str, ...], Table] = {
            (table.schema or default_schema, table.name): table
            for item in metadata
            for table in item.tables.values()
        }
        self._made: dict[ObjectKey, Table] = {}
        self._columns: dict[str | None, list[tuple[int, ObjectKey, Fields]]] = {}
        for key, fields in snapshot.objects.items():
            if key.kind == "column":
                position = int(fields.get("position") or 0)
                self._columns.setdefault(fields.get("of"), []).append((position, key, fields))

    def find(self, key: ObjectKey, kind: str) -> SchemaItem | None:
        """Return the object, None if this side has no such object."""
        fields = self.snapshot.objects.get(key)
        if fields is None:
            return None
        table = key if kind == "table" else ObjectKey.parse(fields.get("of") or "")
        for owner in (self._models.get(_names(table)), self._make(table)):
            if owner is not None:
                item = owner if kind == "table" else _part_of(owner, kind, _names(key)[-1], fields)
                if item is not None:
                    return item
        return _make_part(self._make(table), kind, _names(key)[-1], fields, self._default_schema)

    def _make(self, key: ObjectKey) -> Table:
        """Return a table that is made from the snapshot."""
        if key not in self._made:
            *schemas, name = _names(key)
            columns = sorted(self._columns.get(str(key), ()), key=lambda item: item[0])
            self._made[key] = Table(
                name,
                MetaData(),
                *(_column(column, fields) for _, column, fields in columns),
                schema=next((schema for schema in schemas if schema != self._default_schema), None),
                comment=self.snapshot.value(key, "comment"),
            )
        return self._made[key]


def _names(key: ObjectKey) -> tuple[str, ...]:
    return tuple(map(unquote, split_identity(key.identity)))


def _part_of(table: Table, kind: str, name: str, fields: Fields) -> SchemaItem | None:
    """Return a column, an index or a constraint by its name; one without a name by its columns."""
    if kind == "column":
        return table.columns.get(name)
    items: list[Index | Constraint] = [*table.indexes, *table.constraints]
    unnamed = (
        item
        for item in items
        if item.name is None
        and isinstance(item, _CLASSES[kind])
        and [column.name for column in getattr(item, "columns", ())] == _column_names(fields)
    )
    return next(chain((item for item in items if item.name == name), unnamed), None)


def _column_names(fields: Fields) -> list[str]:
    match = _COLUMNS.search(fields.get("definition") or "")
    return [unquote(found) for found in _IDENTIFIERS.findall(match[1])] if match else []


def _column(key: ObjectKey, fields: Fields) -> Column[Any]:
    default = fields.get("default")
    return Column(
        _names(key)[-1],
        _type(fields.get("type") or ""),
        nullable=fields.get("not_null") is None,
        server_default=text(default) if default else None,
        comment=fields.get("comment"),
    )


def _type(printed: str) -> TypeEngine[Any]:
    """Return the type that PostgreSQL prints in this way; NullType for one that SQLAlchemy does not know."""
    match = _TYPE.fullmatch(printed)
    known = ischema_names.get(f"{match['name'].rpartition('.')[2]}{match['rest'] or ''}") if match else None
    if match is None or known is None:
        return NullType()
    texts = re.findall(r"[^,\s]+", match["arguments"] or "")
    arguments = [int(item) if item.lstrip("-").isdigit() else item for item in texts]
    try:
        if match["rest"]:
            precision = next(iter(arguments), None)
            item = known(timezone=match["rest"].startswith(" with "), precision=precision)
        else:
            item = known(*arguments)
    except Exception:  # noqa: BLE001 - types of other packages take other arguments
        item = known()
    return ARRAY(item, dimensions=len(match["array"]) // 2) if match["array"] else item


def _make_part(table: Table, kind: str, name: str, fields: Fields, default_schema: str) -> SchemaItem:
    """Return a new index or constraint of a table that is made from a snapshot."""
    definition, names = fields.get("definition") or "", _column_names(fields)
    known = [found for found in names if found in table.columns]
    if kind == "index":
        unique = definition.startswith("CREATE UNIQUE")
        return Index(name, *(table.columns[found] for found in known), unique=unique, _table=table)
    constraint: Constraint = CheckConstraint(definition.removeprefix("CHECK "), name)
    if kind == "unique_constraint":
        constraint = UniqueConstraint(*known, name=name)
    elif reference := _REFERENCES.search(definition):
        *schemas, target_table = map(unquote, split_identity(reference[1]))
        target = ".".join([*(schema for schema in schemas if schema != default_schema), target_table])
        referred = [f"{target}.{unquote(found)}" for found in _IDENTIFIERS.findall(reference[2])]
        constraint = ForeignKeyConstraint(known, referred, name)
    table.append_constraint(constraint)
    return constraint
