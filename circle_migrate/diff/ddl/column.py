"""Columns: how they are written, added, altered and dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from circle_migrate.diff.ddl import identity as identities
from circle_migrate.diff.ddl.casts import base, using
from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.identifiers import valued
from circle_migrate.diff.ddl.kind import Commands, Hazardous, ObjectChange, ObjectKind, alter, clause
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import base_name, literal, quote_if_needed

VIEWS = frozenset({"view", "materialized view"})

_COVERED = frozenset(
    {"type", "collation", "default", "identity", "identity_sequence", "generated", "not_null"}
)
_FOLLOWING = frozenset({"position", "inherited", "local"})
_EXPRESSION_SINCE = 17
_DEFAULT_STORAGE_SINCE = 16
_GENERATED = re.compile(r"GENERATED ALWAYS AS \((.*)\) (STORED|VIRTUAL)", re.DOTALL)


def definition(catalog: Catalog, key: ObjectKey) -> str:
    """A column as CREATE TABLE and ADD COLUMN have it."""
    fields = catalog.objects[key]
    collation = [f"COLLATE {fields['collation']}"] if fields.get("collation") else []
    return " ".join([base_name(key.identity), fields.get("type") or "", *collation, *clauses(catalog, key)])


def clauses(catalog: Catalog, key: ObjectKey) -> list[str]:
    """What a column's definition says behind its type."""
    fields, found = catalog.objects[key], []
    if fields.get("generated"):
        found.append(fields["generated"] or "")
    elif fields.get("identity"):
        found.append(identities.clause(key, fields))
    elif fields.get("default"):
        found.append(f"DEFAULT {fields['default']}")
    if fields.get("not_null") and named_not_null(catalog, key) is None:
        found.append("NOT NULL")
    return found


def table_of(key: ObjectKey) -> str:
    """The relation a column is of."""
    return key.identity.removesuffix(f".{base_name(key.identity)}")


def own(fields: Fields) -> bool:
    """Whether a column or constraint is declared by its table itself, not only inherited."""
    return not fields.get("inherited") or bool(fields.get("local"))


def named_not_null(catalog: Catalog, column: ObjectKey) -> ObjectKey | None:
    """The constraint that makes a column NOT NULL, where it is an object of its own (PostgreSQL 18)."""
    name = base_name(column.identity)
    for key in catalog.parts_of(ObjectKey("table", table_of(column)), "constraint"):
        words = (catalog.value(key, "definition") or "").removeprefix("NOT NULL ")
        if catalog.value(key, "type") == "not null" and re.match(rf"{re.escape(name)}(?: |$)", words):
            return key
    return None


def recreated(step: ObjectChange) -> bool:
    """Whether a column has to be dropped and added to become what it should be."""
    one, other = step.change("generated")
    if one == other:
        return False
    before, after = (_GENERATED.fullmatch(text or "") for text in (one, other))
    if before is None:
        return True
    if after is None:
        return before[2] == "VIRTUAL"
    return before[2] != after[2] or step.major < _EXPRESSION_SINCE


def detach(step: ObjectChange) -> Commands:
    """What has to go before the type, or what the default uses, can change."""
    if step.before.get("default"):
        yield f"{_head(step)} DROP DEFAULT"
    if step.before.get("identity") and not step.after.get("identity"):
        yield Hazardous(f"{_head(step)} DROP IDENTITY", ("CM036",))


def _table(step: ObjectChange) -> str:
    return f"ALTER {step.owner.kind.upper()} {table_of(step.key)}"


def _head(step: ObjectChange) -> str:
    return f"{_table(step)} ALTER COLUMN {base_name(step.key.identity)}"


def _add(step: ObjectChange) -> Commands:
    """Nothing but the default for a column of a view, which is one of its query's."""
    if step.owner.kind in VIEWS:
        if step.after.get("default"):
            yield f"{_head(step)} SET DEFAULT {step.after['default']}"
    elif _of_type(step):
        yield from _alter(replace(step, before={"type": step.after.get("type")}))
    elif own(step.after):
        yield Hazardous(
            f"{_table(step)} ADD COLUMN {definition(step.catalog, step.key)}", tuple(_hazards(step))
        )


def _hazards(step: ObjectChange) -> Iterator[str]:
    """Yield the hazards of a new column; a default that calls a function may differ from row to row."""
    value = next(iter(clauses(step.catalog, step.key)), "")
    if value == "NOT NULL":
        yield "CM028"
    elif step.after.get("identity") or re.match(r"DEFAULT .*\(|.* STORED$", value, re.DOTALL):
        yield "CM001"


def _drop(step: ObjectChange) -> Commands:
    if own(step.before) and not _of_type(step):
        yield Hazardous(f"{_table(step)} DROP COLUMN {base_name(step.key.identity)}", ("CM010",))


def _of_type(step: ObjectChange) -> bool:
    """Whether the table's composite type decides which columns there are; it is altered with CASCADE."""
    before, after = (catalog.value(step.owner, "of_type") for catalog in (step.existing, step.catalog))
    return before is not None and before == after


def _alter(step: ObjectChange) -> Commands:
    """Everything a column's definition says, in an order in which one part permits the next."""
    head, before, after = _head(step), step.before, step.after
    if before.get("generated") and not after.get("generated"):
        yield Hazardous(f"{head} DROP EXPRESSION", ("CM036",))
    if before.get("not_null") and not after.get("not_null"):
        yield f"{head} DROP NOT NULL"
    if step.differs("type", "collation") and not _of_type(step):
        yield _retype(step)
    if before.get("default") != after.get("default"):
        default = after.get("default")
        yield f"{head} SET DEFAULT {default}" if default else f"{head} DROP DEFAULT"
    if (
        after.get("not_null")
        and not before.get("not_null")
        and named_not_null(step.catalog, step.key) is None
    ):
        yield Hazardous(f"{head} SET NOT NULL", ("CM007", "CM020"))
    if after.get("generated") and step.differs("generated"):
        match = _GENERATED.fullmatch(after["generated"] or "")
        yield Hazardous(f"{head} SET EXPRESSION AS ({match[1] if match else ''})", ("CM069",))
    if after.get("identity") and step.differs("identity"):
        yield f"{head} {identities.change(step)}"


def _retype(step: ObjectChange) -> Hazardous:
    name, before, after = (
        base_name(step.key.identity),
        step.before.get("type") or "",
        step.after.get("type") or "",
    )
    collation = f" COLLATE {step.after['collation']}" if step.after.get("collation") else ""
    cast = using(name, "" if step.converted else before, after)
    fails = "CM026" if cast else "CM027"
    return Hazardous(f"{_head(step)} TYPE {after}{collation}{cast}", ("CM061", fails))


def _storage(step: ObjectChange) -> Commands:
    yield f"{_head(step)} SET STORAGE {(step.after.get('storage') or _usual_storage(step)).upper()}"


def _usual_storage(step: ObjectChange) -> str:
    """That of the type: DEFAULT where the server knows the word, else what pg_type has for it."""
    if step.major >= _DEFAULT_STORAGE_SINCE:
        return "DEFAULT"
    return "MAIN" if base(step.after.get("type") or "") in {"numeric", "inet", "cidr"} else "EXTENDED"


def _options(step: ObjectChange) -> Commands:
    yield from option_changes(
        _head(step), *step.change("options"), foreign=step.owner.kind == "foreign table"
    )


def change_options(step: ObjectChange) -> Commands:
    """Write the commands that change the options of a relation."""
    return option_changes(alter(step), *step.change("options"), foreign=step.key.kind == "foreign table")


def option_changes(
    head: str, before: str | None, after: str | None, *, foreign: bool = False
) -> Iterator[str]:
    """SET and RESET, or OPTIONS, from one list of `name=value` lines to another."""
    had, has = valued(before), valued(after)
    gone = [name for name in had if name not in has]
    new = {name: value for name, value in has.items() if had.get(name) != value}
    if foreign:
        verbs = [f"DROP {quote_if_needed(name)}" for name in gone]
        verbs += [
            f"{'SET' if name in had else 'ADD'} {quote_if_needed(name)} {literal(value)}"
            for name, value in new.items()
        ]
        if verbs:
            yield f"{head} OPTIONS ({', '.join(verbs)})"
        return
    if gone:
        yield f"{head} RESET ({', '.join(gone)})"
    if new:
        yield f"{head} SET ({options(new)})"


def foreign_options(values: dict[str, str]) -> str:
    """Options of foreign data as they stand in CREATE."""
    listed = ", ".join(f"{quote_if_needed(name)} {literal(value)}" for name, value in values.items())
    return f"OPTIONS ({listed})"


def options(values: dict[str, str]) -> str:
    """Storage parameters as they stand in WITH and SET."""
    return ", ".join(f"{name}={_value(value)}" for name, value in values.items())


def _value(value: str) -> str:
    return value if re.fullmatch(r"[\w.]+", value) else literal(value)


def redeclared(step: ObjectChange) -> str | None:
    """What of an inherited column or constraint nothing changes: that its table declares it too."""
    placed = ("partition_of", "inherits")
    if step.differs("local") and not any(
        step.existing.value(step.owner, name) != step.catalog.value(step.owner, name) for name in placed
    ):
        return "whether the table declares it itself"
    return None


def _unsupported(step: ObjectChange) -> str | None:
    return identities.unsupported(step) or redeclared(step)


COLUMN = ObjectKind(
    "COLUMN",
    create=_add,
    drop=_drop,
    covers=_COVERED,
    alters={
        **dict.fromkeys(_COVERED - {"identity_sequence"}, _alter),
        "storage": _storage,
        "compression": clause("compression", "SET COMPRESSION {}", "SET COMPRESSION default", head=_head),
        "statistics": clause("statistics", "SET STATISTICS {}", "SET STATISTICS -1", head=_head),
        "options": _options,
        **identities.ALTERS,
    },
    follows=_FOLLOWING,
    unsupported=_unsupported,
    grant="TABLE",
    owned=False,
)
