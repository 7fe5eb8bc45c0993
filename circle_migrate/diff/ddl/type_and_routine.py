"""Types, sequences and routines."""

import re
from collections.abc import Iterator

from circle_migrate.diff.ddl.kind import Commands, Hazardous, ObjectChange, ObjectKind, alter, clause
from circle_migrate.diff.ddl.statement import comment_on, optional_clauses
from circle_migrate.postgres.catalog.snapshot import Fields, labels
from circle_migrate.postgres.identifier import literal, schema_of, split_lines


def _create_enum(change: ObjectChange) -> Commands:
    label_list = ", ".join(map(literal, labels(change.after.get("labels"))))
    yield f"CREATE TYPE {change.key.identity} AS ENUM ({label_list})"


def _only_adds_labels(change: ObjectChange) -> bool:
    """Return whether an enum keeps all its labels in their order."""
    before, after = (labels(text) for text in change.values("labels"))
    rest = iter(after)
    return bool(before) and all(label in rest for label in before)


def _add_labels(change: ObjectChange) -> Iterator[str]:
    before, after = (labels(text) for text in change.values("labels"))
    for index, label in enumerate(after):
        if label not in before:
            successor = next((old for old in after[index:] if old in before), None)
            position = f" BEFORE {literal(successor)}" if successor is not None else ""
            yield f"{alter(change)} ADD VALUE {literal(label)}{position}"


def _create_domain(change: ObjectChange) -> Commands:
    templates = {"collation": "COLLATE {}", "default": "DEFAULT {}", "not_null": "NOT NULL"}
    clauses = optional_clauses(change.after, templates)
    yield " ".join([f"CREATE DOMAIN {change.key.identity} AS {change.after.get('type')}", *clauses])


def _domain_not_null(change: ObjectChange) -> Commands:
    sql = f"{alter(change)} {'SET' if change.after.get('not_null') else 'DROP'} NOT NULL"
    yield Hazardous(sql, ("CM007",)) if change.after.get("not_null") else sql


def _attributes(text: str | None) -> dict[str, str]:
    """Return the attributes of a composite type: name, then type and collation."""
    attributes = {}
    for line in split_lines(text):
        name = schema_of(line) if line.startswith('"') else line.partition(" ")[0]
        attributes[name] = line[len(name) + 1 :]
    return attributes


def _only_appends_attributes(change: ObjectChange) -> bool:
    """Return whether ALTER TYPE can make the change: it adds attributes at the end only.

    It cannot change an attribute while columns use the type. Values of as many attributes can be converted.
    """
    before, after = (_attributes(text) for text in change.values("attributes"))
    users = {user.kind for user in change.existing.needed_by.get(change.key, ())}
    if list(before) == list(after) and users & {"column", "composite type", "domain"}:
        return False
    kept = [name for name in before if name in after]
    return list(after)[: len(kept)] == kept


def _change_attributes(change: ObjectChange) -> Commands:
    before, after = (_attributes(text) for text in change.values("attributes"))
    typed_tables = any(
        fields.get("of_type") == change.key.identity for fields in change.existing.objects.values()
    )
    head, tail = alter(change), " CASCADE" if typed_tables else ""
    for name in [name for name in before if name not in after]:
        yield Hazardous(f"{head} DROP ATTRIBUTE {name}{tail}", ("CM010",))
    for name, type_ in after.items():
        if name not in before:
            yield f"{head} ADD ATTRIBUTE {name} {type_}{tail}"
        elif before[name] != type_:
            yield Hazardous(f"{head} ALTER ATTRIBUTE {name} TYPE {type_}{tail}", ("CM016",))


_RANGE = {
    "subtype": "SUBTYPE = {}",
    "opclass": "SUBTYPE_OPCLASS = {}",
    "collation": "COLLATION = {}",
    "canonical": "CANONICAL = {}",
    "diff": "SUBTYPE_DIFF = {}",
    "multirange": "MULTIRANGE_TYPE_NAME = {}",
}


def _create_range(change: ObjectChange) -> Commands:
    """CREATE TYPE has functions without their argument types."""
    functions = {name: (change.after.get(name) or "").partition("(")[0] for name in ("canonical", "diff")}
    clauses = ", ".join(optional_clauses({**change.after, **functions}, _RANGE))
    yield f"CREATE TYPE {change.key.identity} AS RANGE ({clauses})"


_SEQUENCE = {
    "type": "AS {}",
    "increment": "INCREMENT BY {}",
    "minimum": "MINVALUE {}",
    "maximum": "MAXVALUE {}",
    "start": "START WITH {}",
    "cache": "CACHE {}",
}


def _sequence_options(before: Fields, after: Fields) -> str:
    changed = {name: after.get(name) for name in (*_SEQUENCE, "cycle") if before.get(name) != after.get(name)}
    options = [template.format(changed[name]) for name, template in _SEQUENCE.items() if name in changed]
    if "cycle" in changed:
        options.append("CYCLE" if changed["cycle"] else "NO CYCLE")
    return " ".join(options)


def _create_sequence(change: ObjectChange) -> Commands:
    unlogged = "UNLOGGED " if change.after.get("persistence") else ""
    yield f"CREATE {unlogged}SEQUENCE {change.key.identity} {_sequence_options({}, change.after)}"


def _change_sequence(change: ObjectChange) -> Commands:
    """Restart a sequence whose old start is outside the new bounds: its value is probably there too."""
    start = int(change.before.get("start") or 0)
    low, high = (int(change.after.get(name) or start) for name in ("minimum", "maximum"))
    sql = f"{alter(change)} {_sequence_options(change.before, change.after)}"
    yield sql if low <= start <= high else Hazardous(f"{sql} RESTART", ("CM032",))


def _sequence_persistence(change: ObjectChange) -> Commands:
    """The sequence of a column has the persistence of its table."""
    if not change.after.get("owned_by"):
        yield f"{alter(change)} SET {'UNLOGGED' if change.after.get('persistence') else 'LOGGED'}"


def _same_signature(change: ObjectChange) -> bool:
    """Return whether the signature is the same, which CREATE OR REPLACE cannot change."""
    before, after = ((text or "").partition("\n LANGUAGE ")[0] for text in change.values("definition"))
    return before == after


SEQUENCE = ObjectKind(
    "SEQUENCE",
    create=_create_sequence,
    covers={*_SEQUENCE, "cycle", "persistence"},
    alters={**dict.fromkeys([*_SEQUENCE, "cycle"], _change_sequence), "persistence": _sequence_persistence},
    follows={"owned_by"},
    grant="SEQUENCE",
    drop_hazards=("CM014",),
)
ENUM = ObjectKind(
    "TYPE",
    create=_create_enum,
    covers={"labels"},
    grant="TYPE",
    in_place=_only_adds_labels,
    rerun=_add_labels,
)
DOMAIN = ObjectKind(
    "DOMAIN",
    create=_create_domain,
    covers={"type", "collation", "default", "not_null"},
    alters={"default": clause("default", "SET DEFAULT {}", "DROP DEFAULT"), "not_null": _domain_not_null},
    grant="TYPE",
)
COMPOSITE_TYPE = ObjectKind(
    "TYPE",
    create=lambda change: [
        f"CREATE TYPE {change.key.identity} AS ({', '.join(split_lines(change.after.get('attributes')))})"
    ],
    covers={"attributes"},
    alters={
        "attribute_comments": lambda change: [
            comment_on(f"COLUMN {change.key.identity}.{name}", comment)
            for name, comment in change.changed_entries("attribute_comments")
        ]
    },
    grant="TYPE",
    in_place=_only_appends_attributes,
    rerun=_change_attributes,
)
RANGE_TYPE = ObjectKind("TYPE", create=_create_range, covers=_RANGE.keys(), grant="TYPE")


def routine(noun: str) -> ObjectKind:
    """Return the kind of routines that are dropped and altered by this noun."""
    return ObjectKind(
        noun,
        covers={"definition", "language", "security_definer"},
        follows={"language", "security_definer"},
        grant="PROCEDURE" if noun == "PROCEDURE" else "FUNCTION",
        in_place=_same_signature,
    )


AGGREGATE = ObjectKind(
    "AGGREGATE",
    follows={"language", "security_definer"},
    grant="FUNCTION",
    name=lambda key, _fields: re.sub(r"\(\)$", "(*)", key.identity),
)
