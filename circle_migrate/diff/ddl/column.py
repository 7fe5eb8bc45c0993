"""Columns of tables, foreign tables, views and typed tables."""

import re
from collections.abc import Iterator
from dataclasses import replace
from math import inf

from circle_migrate.diff.ddl import attributes
from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.kind import Commands, Hazardous, ObjectChange, ObjectKind, alter_owner, clause
from circle_migrate.diff.ddl.statement import comment_on, option_changes, split_field
from circle_migrate.postgres.catalog.read import OWNER
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import base_name, quote_if_needed, schema_of, split_identity, unquote

_NUMBERS = {"smallint", "integer", "bigint", "numeric", "real", "double precision"}
_STRINGS = {"text", "character varying", "character"}
_TIMESTAMPS = {"timestamp without time zone", "timestamp with time zone", "date"}
_TIMES = {"time without time zone", "time with time zone", "interval"}
_ASSIGNABLE = (_NUMBERS, _STRINGS, _TIMESTAMPS, _TIMES, {"json", "jsonb"}, {"inet", "cidr"})


def base_type(type_: str) -> str:
    """Return a type without its length, precision and array brackets."""
    return re.sub(r"\(\d+(?:,-?\d+)?\)", "", type_).removesuffix("[]")


def using_clause(column: str, before: str, after: str) -> str:
    """Return the USING clause of a change of type, empty if an assignment cast exists.

    An explicit cast truncates strings that are too long without an error; an assignment fails.
    """
    old, new = base_type(before), base_type(after)
    arrays = before.endswith("[]"), after.endswith("[]")
    if arrays[0] == arrays[1]:
        if old == new or any({old, new} <= family for family in _ASSIGNABLE):
            return ""
        if new in _STRINGS and not arrays[0]:
            return ""
    text = "text[]" if all(arrays) else "text"
    return f" USING {column}::{text}::{after}"


def are_comparable(before: str, after: str) -> bool:
    """Return whether values of both types can be compared, as in a foreign key."""
    old, new = base_type(before), base_type(after)
    return old == new or any({old, new} <= family for family in (_NUMBERS, _STRINGS))


VIEWS = frozenset({"view", "materialized view"})

_COVERED = {"type", "collation", "default", "identity", "identity_sequence", "generated", "not_null"}
_SEQUENCE_FIELDS = ("identity_sequence", "sequence_acl", "sequence_comment", "sequence_persistence")
"""Fields of an identity column that describe its sequence."""

_OPTION_DEFAULTS = {
    "INCREMENT": "SET INCREMENT BY 1",
    "MINVALUE": "SET NO MINVALUE",
    "MAXVALUE": "SET NO MAXVALUE",
    "CACHE": "SET CACHE 1",
    "CYCLE": "SET NO CYCLE",
}
_HIGHEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1}
_SET_EXPRESSION_SINCE = 17
_STORAGE_DEFAULT_SINCE = 16
_GENERATED = re.compile(r"GENERATED ALWAYS AS \((.*)\) (STORED|VIRTUAL)", re.DOTALL)


def definition(catalog: Catalog, key: ObjectKey, *, inherits: bool = False) -> str:
    """Return the column definition for CREATE TABLE and ADD COLUMN; a new table `inherits` NOT NULL."""
    fields = catalog.objects[key]
    collation = [f"COLLATE {fields['collation']}"] if fields.get("collation") else []
    inherits = inherits and any(catalog.value(parent, "not_null") for parent in catalog.parent_columns(key))
    clauses = [text for text in constraint_clauses(catalog, key) if text != "NOT NULL" or not inherits]
    return " ".join([base_name(key.identity), fields.get("type") or "", *collation, *clauses])


def constraint_clauses(catalog: Catalog, key: ObjectKey) -> list[str]:
    """Return the clauses of a column definition after the type: GENERATED, DEFAULT, NOT NULL."""
    fields, clauses = catalog.objects[key], []
    if fields.get("generated"):
        clauses.append(fields["generated"] or "")
    elif fields.get("identity"):
        clauses.append(_identity_clause(key, fields))
    elif fields.get("default"):
        clauses.append(f"DEFAULT {fields['default']}")
    if is_not_null(catalog, key):
        clauses.append("NOT NULL")
    return clauses


def table_of(key: ObjectKey) -> str:
    """Return the identity of a column's relation."""
    return key.identity.removesuffix(f".{base_name(key.identity)}")


def is_local(fields: Fields) -> bool:
    """Return whether the table itself declares a column or constraint, and does not only inherit it."""
    return not fields.get("inherited") or bool(fields.get("local"))


def is_not_null(catalog: Catalog, column: ObjectKey) -> bool:
    """Return whether a column is NOT NULL without a constraint object (which PostgreSQL 18 has)."""
    if not catalog.value(column, "not_null"):
        return False
    pattern = re.compile(rf"(?:NOT NULL )?{re.escape(base_name(column.identity))}(?: |$)")
    constraints = catalog.parts_of(ObjectKey("table", table_of(column)), "constraint")
    return not any(
        catalog.value(key, "type") == "not null" and pattern.match(catalog.value(key, "definition") or "")
        for key in constraints
    )


def needs_replacement(change: ObjectChange) -> bool:
    """Return whether a column must be dropped and added again to change its expression."""
    if not change.differs("generated"):
        return False
    before, after = (_GENERATED.fullmatch(text or "") for text in change.values("generated"))
    if before is None:
        return True
    if after is None:
        return before[2] == "VIRTUAL"
    return before[2] != after[2] or change.major < _SET_EXPRESSION_SINCE


def detach(change: ObjectChange) -> Commands:
    """Drop what prevents a change of the type, or of the sequence or function in the default."""
    if change.before.get("default"):
        yield f"{_alter_column(change)} DROP DEFAULT"
    if change.before.get("identity") and not change.after.get("identity"):
        yield Hazardous(f"{_alter_column(change)} DROP IDENTITY", ("CM036",))


def _alter_column(change: ObjectChange) -> str:
    return f"{alter_owner(change)} ALTER COLUMN {base_name(change.key.identity)}"


def _add(change: ObjectChange) -> Commands:
    """Of the column of a view only the default is written: the query defines the rest."""
    if change.owner.kind in VIEWS:
        if change.after.get("default"):
            yield f"{_alter_column(change)} SET DEFAULT {change.after['default']}"
    elif _is_typed(change):
        yield from _alter(replace(change, before={"type": change.after.get("type")}))
    elif is_local(change.after):
        sql = f"{alter_owner(change)} ADD COLUMN {definition(change.catalog, change.key)}"
        yield Hazardous(sql, tuple(_add_hazards(change)))


def _add_hazards(change: ObjectChange) -> Iterator[str]:
    """A default that calls a function may be volatile, and then the table is rewritten."""
    first = next(iter(constraint_clauses(change.catalog, change.key)), "")
    if first == "NOT NULL":
        yield "CM028"
    elif change.after.get("identity") or re.match(r"DEFAULT .*\(|.* STORED$", first, re.DOTALL):
        yield "CM001"


def _drop(change: ObjectChange) -> Commands:
    if (is_local(change.before) or not keeps_parents(change)) and not _is_typed(change):
        yield Hazardous(f"{alter_owner(change)} DROP COLUMN {base_name(change.key.identity)}", ("CM010",))


def _is_typed(change: ObjectChange) -> bool:
    """Return whether the column comes from the table's composite type, which is altered with CASCADE."""
    before, after = (catalog.value(change.owner, "of_type") for catalog in (change.existing, change.catalog))
    return before is not None and before == after


def _alter(change: ObjectChange) -> Commands:
    """Write the actions for the column definition, in an order in which each permits the next."""
    head, before, after = _alter_column(change), change.before, change.after
    if before.get("generated") and not after.get("generated"):
        yield Hazardous(f"{head} DROP EXPRESSION", ("CM036",))
    if before.get("not_null") and not after.get("not_null"):
        yield f"{head} DROP NOT NULL"
    if change.differs("type", "collation") and not _is_typed(change):
        yield _alter_type(change)
    if change.differs("default"):
        default = after.get("default")
        yield f"{head} SET DEFAULT {default}" if default else f"{head} DROP DEFAULT"
    if not before.get("not_null") and is_not_null(change.catalog, change.key):
        yield Hazardous(f"{head} SET NOT NULL", ("CM007", "CM020"))
    if after.get("generated") and change.differs("generated"):
        match = _GENERATED.fullmatch(after["generated"] or "")
        yield Hazardous(f"{head} SET EXPRESSION AS ({match[1] if match else ''})", ("CM069",))
    if after.get("identity") and change.differs("identity"):
        sql = f"{head} {_identity_action(change)}"
        yield Hazardous(sql, ("CM032",)) if sql.endswith(" RESTART") else sql


def _alter_type(change: ObjectChange) -> Hazardous:
    before, after = (type_ or "" for type_ in change.values("type"))
    collation = f" COLLATE {change.after['collation']}" if change.after.get("collation") else ""
    cast = using_clause(base_name(change.key.identity), "" if change.converted else before, after)
    failure = "CM026" if cast else "CM027"
    return Hazardous(f"{_alter_column(change)} TYPE {after}{collation}{cast}", ("CM061", failure))


def _set_storage(change: ObjectChange) -> Commands:
    """Older servers have no SET STORAGE DEFAULT; they need the value of pg_type.typstorage."""
    default = "DEFAULT"
    if change.major < _STORAGE_DEFAULT_SINCE:
        type_ = base_type(change.after.get("type") or "")
        default = "MAIN" if type_ in {"numeric", "inet", "cidr"} else "EXTENDED"
    yield f"{_alter_column(change)} SET STORAGE {(change.after.get('storage') or default).upper()}"


def _identity_clause(key: ObjectKey, fields: Fields) -> str:
    always, *options = split_field(fields.get("identity"))
    if fields.get("identity_sequence"):
        options.insert(0, f"SEQUENCE NAME {schema_of(key.identity)}.{fields['identity_sequence']}")
    generated = f"GENERATED {always.upper()} AS IDENTITY"
    return f"{generated} ({' '.join(options)})" if options else generated


def _identity_action(change: ObjectChange) -> str:
    """Return the action of ALTER COLUMN that adds or changes the identity."""
    if not change.before.get("identity"):
        return f"ADD {_identity_clause(change.key, change.after)}"
    (before, *old), (after, *new) = (split_field(text) for text in change.values("identity"))
    actions = [f"SET GENERATED {after.upper()}"] if before != after else []
    steps = [[option for option in options if option.startswith("INCREMENT")] for options in (old, new)]
    bounds = {"MINVALUE", "MAXVALUE"} if steps[0] != steps[1] else set()  # the defaults follow the sign
    removed = {option.split()[0] for option in old} | bounds
    removed -= {option.split()[0] for option in new}
    actions += [action for word, action in _OPTION_DEFAULTS.items() if word in removed]
    actions += [f"SET {option}" for option in new if option not in old and not option.startswith("START")]
    low, start, high = _bounds(new, change.after.get("type"))
    if start != _bounds(old)[1]:
        actions.append(f"SET START WITH {start}")
    if not low <= _bounds(old)[1] <= high:  # as for sequences: its value is probably outside, too
        actions.append("RESTART")
    return " ".join(actions)


def _bounds(options: list[str], type_: str | None = None) -> tuple[float, int, float]:
    """Return the lowest value, the start and the highest value of an identity."""
    values = {option.split()[0]: int(option.split()[-1]) for option in options if option[-1].isdigit()}
    ascending = values.get("INCREMENT", 1) > 0
    low = values.get("MINVALUE", 1 if ascending else -inf)
    high = values.get("MAXVALUE", _HIGHEST.get(type_ or "", inf) if ascending else -1)
    return low, values.get("START", int(low if ascending else high)), high


def with_initial_privileges(change: ObjectChange, *, new: bool) -> ObjectChange:
    """Return the change with the privileges that a new sequence gets from ALTER DEFAULT PRIVILEGES."""
    if not change.after.get("identity") or (change.before.get("identity") and not new):
        return change
    creator, _ = _owners(change)
    initial = attributes.initial_privileges("SEQUENCE", creator, change)
    if initial == attributes.default_privileges("SEQUENCE", creator, change.major):
        return change
    return replace(change, before={**change.before, "sequence_acl": attributes.format_acl(initial)})


def _owners(change: ObjectChange) -> tuple[str, str]:
    """Return the owner of the table, and so of the sequence, before and after the change."""
    before, after = (catalog.value(change.owner, "owner") for catalog in (change.existing, change.catalog))
    return before or OWNER, after or OWNER


def identity_sequence(key: ObjectKey, fields: Fields) -> str:
    """Return the identity of the sequence of an identity column."""
    schema, table, column = split_identity(key.identity)
    name = fields.get("identity_sequence") or quote_if_needed(f"{unquote(table)}_{unquote(column)}_seq")
    return f"{schema}.{name}"


def _alter_sequence(change: ObjectChange) -> Iterator[str]:
    """Yield the changes of the sequence of an identity; one that is dropped with its identity needs none."""
    if not change.after.get("identity"):
        return
    sequence = identity_sequence(change.key, change.after)
    if change.differs("identity_sequence") and change.before.get("identity"):
        yield f"ALTER SEQUENCE {identity_sequence(change.key, change.before)} RENAME TO {base_name(sequence)}"
    if change.differs("sequence_acl"):
        owners = _owners(change)
        before, after = (
            attributes.parse_or_default(acl, "SEQUENCE", owner, change.major)
            for acl, owner in zip(change.values("sequence_acl"), owners, strict=True)
        )
        before = attributes.after_owner_change(before, *owners)
        yield from attributes.grant_commands(f"SEQUENCE {sequence}", before, after)
    if change.differs("sequence_comment"):
        yield comment_on(f"SEQUENCE {sequence}", change.after.get("sequence_comment"))
    if change.differs("sequence_persistence"):
        # Without a value, the sequence has the persistence of its table.
        default = "unlogged" if change.catalog.value(change.owner, "persistence") else "logged"
        persistence = change.after.get("sequence_persistence") or default
        yield f"ALTER SEQUENCE {sequence} SET {persistence.upper()}"


def keeps_parents(change: ObjectChange) -> bool:
    """Return whether the table of an object stays a partition or child of the same tables."""
    return all(
        change.existing.value(change.owner, name) == change.catalog.value(change.owner, name)
        for name in ("partition_of", "inherits")
    )


def unsupported_declaration(change: ObjectChange) -> str | None:
    """Return a change that has no command: an inherited column or constraint is declared locally too."""
    return "local declaration" if change.differs("local") and keeps_parents(change) else None


COLUMN = ObjectKind(
    "COLUMN",
    create=_add,
    drop=_drop,
    covers=_COVERED,
    alters={
        **dict.fromkeys(_COVERED - {"identity_sequence"}, _alter),
        "storage": _set_storage,
        "compression": clause(
            "compression", "SET COMPRESSION {}", "SET COMPRESSION default", head=_alter_column
        ),
        "statistics": clause("statistics", "SET STATISTICS {}", "SET STATISTICS -1", head=_alter_column),
        "options": lambda change: option_changes(
            _alter_column(change), *change.values("options"), foreign=change.owner.kind == "foreign table"
        ),
        **dict.fromkeys(_SEQUENCE_FIELDS, _alter_sequence),
    },
    follows={"position", "inherited", "local"},
    unsupported=lambda change: (
        attributes.unsupported_grants(change, "sequence_acl", "privileges on its sequence")
        or unsupported_declaration(change)
    ),
    grant="TABLE",
)
