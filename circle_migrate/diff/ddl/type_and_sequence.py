"""Types and sequences."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.diff.ddl.identifiers import listed
from circle_migrate.diff.ddl.kind import (
    Commands,
    Hazardous,
    ObjectChange,
    ObjectKind,
    clause,
    comment_on,
    optional_clauses,
)
from circle_migrate.postgres.catalog.enum_labels import labels
from circle_migrate.postgres.catalog.snapshot import Fields
from circle_migrate.postgres.identifier import literal, split_identity, split_lines


def _create_enum(step: ObjectChange) -> Commands:
    listed = ", ".join(map(literal, labels(step.after.get("labels"))))
    yield f"CREATE TYPE {step.key.identity} AS ENUM ({listed})"


def _only_adds(step: ObjectChange) -> bool:
    """Whether an enum keeps all its labels in their order."""
    before, after = (labels(text) for text in step.change("labels"))
    rest = iter(after)
    return bool(before) and all(label in rest for label in before)


def _add_labels(step: ObjectChange) -> Iterator[str]:
    before, after = (labels(text) for text in step.change("labels"))
    for index, label in enumerate(after):
        if label not in before:
            later = next((each for each in after[index:] if each in before), None)
            place = f" BEFORE {literal(later)}" if later is not None else ""
            yield f"ALTER TYPE {step.key.identity} ADD VALUE {literal(label)}{place}"


def _create_domain(step: ObjectChange) -> Commands:
    fields = step.after
    clauses = optional_clauses(
        fields, {"collation": "COLLATE {}", "default": "DEFAULT {}", "not_null": "NOT NULL"}
    )
    yield " ".join([f"CREATE DOMAIN {step.key.identity} AS {fields.get('type')}", *clauses])


def _domain_not_null(step: ObjectChange) -> Commands:
    if step.after.get("not_null"):
        yield Hazardous(f"ALTER DOMAIN {step.key.identity} SET NOT NULL", ("CM007",))
    else:
        yield f"ALTER DOMAIN {step.key.identity} DROP NOT NULL"


def _create_composite(step: ObjectChange) -> Commands:
    yield f"CREATE TYPE {step.key.identity} AS ({', '.join(split_lines(step.after.get('attributes')))})"


def _attributes(text: str | None) -> dict[str, str]:
    """Each attribute's name with its type and collation."""
    found = {}
    for line in split_lines(text):
        name = split_identity(line)[0] if line.startswith('"') else line.partition(" ")[0]
        found[name] = line[len(name) + 1 :]
    return found


def _keeps_order(step: ObjectChange) -> bool:
    """Whether ALTER TYPE leads there: attributes are only ever added at the end."""
    before, after = (_attributes(text) for text in step.change("attributes"))
    kept = [name for name in before if name in after]
    return list(after)[: len(kept)] == kept


def _change_attributes(step: ObjectChange) -> Commands:
    before, after = (_attributes(text) for text in step.change("attributes"))
    head, tail = f"ALTER TYPE {step.key.identity}", " CASCADE" if _has_typed_tables(step) else ""
    gone = (name for name in before if name not in after)
    yield from (Hazardous(f"{head} DROP ATTRIBUTE {name}{tail}", ("CM010",)) for name in gone)
    for name, type_ in after.items():
        if name not in before:
            yield f"{head} ADD ATTRIBUTE {name} {type_}{tail}"
        elif before[name] != type_:
            yield Hazardous(f"{head} ALTER ATTRIBUTE {name} TYPE {type_}{tail}", ("CM016",))


def _has_typed_tables(step: ObjectChange) -> bool:
    return any(fields.get("of_type") == step.key.identity for fields in step.existing.objects.values())


def _attribute_comments(step: ObjectChange) -> Iterator[str]:
    before, after = (
        dict(line.split(": ", 1) for line in listed(text)) for text in step.change("attribute_comments")
    )
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield comment_on(f"COLUMN {step.key.identity}.{name}", after.get(name))


_RANGE = {
    "subtype": "SUBTYPE",
    "opclass": "SUBTYPE_OPCLASS",
    "collation": "COLLATION",
    "canonical": "CANONICAL",
    "diff": "SUBTYPE_DIFF",
    "multirange": "MULTIRANGE_TYPE_NAME",
}
_NAMED_WITH_ARGUMENTS = {"canonical", "diff"}


def _create_range(step: ObjectChange) -> Commands:
    clauses = []
    for name, word in _RANGE.items():
        value = step.after.get(name)
        if value:
            clauses.append(f"{word} = {value.partition('(')[0] if name in _NAMED_WITH_ARGUMENTS else value}")
    yield f"CREATE TYPE {step.key.identity} AS RANGE ({', '.join(clauses)})"


_SEQUENCE = {
    "type": "AS {}",
    "increment": "INCREMENT BY {}",
    "minimum": "MINVALUE {}",
    "maximum": "MAXVALUE {}",
    "start": "START WITH {}",
    "cache": "CACHE {}",
}


def _sequence_options(before: Fields, after: Fields) -> str:
    found = [
        word.format(after[name]) for name, word in _SEQUENCE.items() if before.get(name) != after.get(name)
    ]
    if before.get("cycle") != after.get("cycle"):
        found.append("CYCLE" if after.get("cycle") else "NO CYCLE")
    return " ".join(found)


def _create_sequence(step: ObjectChange) -> Commands:
    unlogged = "UNLOGGED " if step.after.get("persistence") else ""
    yield f"CREATE {unlogged}SEQUENCE {step.key.identity} {_sequence_options({}, step.after)}"


def _change_sequence(step: ObjectChange) -> Commands:
    """Where it began is outside the new bounds, it is likely to be there still, which PostgreSQL refuses."""
    start = int(step.before.get("start") or 0)
    low, high = (int(step.after.get(name) or start) for name in ("minimum", "maximum"))
    sql = f"ALTER SEQUENCE {step.key.identity} {_sequence_options(step.before, step.after)}"
    yield sql if low <= start <= high else Hazardous(f"{sql} RESTART", ("CM032",))


def _sequence_persistence(step: ObjectChange) -> Commands:
    """Where it belongs to a column, its table's decides."""
    if not step.after.get("owned_by"):
        logged = "UNLOGGED" if step.after.get("persistence") else "LOGGED"
        yield f"ALTER SEQUENCE {step.key.identity} SET {logged}"


SEQUENCE = ObjectKind(
    "SEQUENCE",
    create=_create_sequence,
    covers=frozenset({*_SEQUENCE, "cycle", "persistence"}),
    alters={**dict.fromkeys([*_SEQUENCE, "cycle"], _change_sequence), "persistence": _sequence_persistence},
    follows=frozenset({"owned_by"}),
    grant="SEQUENCE",
    drop_hazards=("CM014",),
)
ENUM = ObjectKind(
    "TYPE",
    create=_create_enum,
    covers=frozenset({"labels"}),
    grant="TYPE",
    in_place=_only_adds,
    rerun=_add_labels,
)
DOMAIN = ObjectKind(
    "DOMAIN",
    create=_create_domain,
    covers=frozenset({"type", "collation", "default", "not_null"}),
    alters={"default": clause("default", "SET DEFAULT {}", "DROP DEFAULT"), "not_null": _domain_not_null},
    grant="TYPE",
)
COMPOSITE_TYPE = ObjectKind(
    "TYPE",
    create=_create_composite,
    covers=frozenset({"attributes"}),
    alters={"attribute_comments": _attribute_comments},
    grant="TYPE",
    in_place=_keeps_order,
    rerun=_change_attributes,
)
RANGE_TYPE = ObjectKind("TYPE", create=_create_range, covers=frozenset(_RANGE), grant="TYPE")
