"""The tables of catalogues with their columns, keys and relations as one drawing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from circle_migrate.commands.graph.drawing import (
    FOREIGN_KEY,
    PRIMARY_KEY,
    UNIQUE,
    Cardinality,
    Diagram,
    Edge,
    EdgeKind,
    Node,
    NodeKind,
    Row,
)
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey, Snapshot
from circle_migrate.postgres.identifier import IDENTIFIER, split_identity, unquote

_NAMES = rf"\(((?:PERIOD )?{IDENTIFIER}(?:, (?:PERIOD )?{IDENTIFIER})*)\)"
_FOREIGN_KEY = re.compile(rf"FOREIGN KEY {_NAMES} REFERENCES ({IDENTIFIER}(?:\.{IDENTIFIER})?){_NAMES}")
_UNIQUE_KEY = re.compile(rf"(?:PRIMARY KEY|UNIQUE)(?: NULLS NOT DISTINCT)? {_NAMES}")
_UNIQUE_INDEX = re.compile(
    rf"CREATE UNIQUE INDEX {IDENTIFIER} ON (?:ONLY )?{IDENTIFIER}(?:\.{IDENTIFIER})? USING btree {_NAMES}"
    rf"(?: INCLUDE {_NAMES})?(?: NULLS NOT DISTINCT)?"
)
"""One over columns and all rows: with an expression or a condition it makes no column unique."""

# PostgreSQL's own shorter names for types that format_type() spells out.
_SHORTER = (
    (re.compile(r"\bcharacter varying\b"), "varchar"),
    (re.compile(r"\bcharacter\b"), "char"),
    (re.compile(r"\b(timestamp|time)(\(\d\))? with time zone\b"), r"\1tz\2"),
    (re.compile(r"\b(timestamp|time)(\(\d\))? without time zone\b"), r"\1\2"),
    (re.compile(r"\bdouble precision\b"), "float8"),
)

_USUAL_SCHEMA = "public."


@dataclass(slots=True)
class _Table:
    """What the catalogue says about one table; names are as SQL has them, quoted where they must be."""

    identity: str
    columns: list[tuple[str, Fields]] = field(default_factory=list)
    primary: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = field(default_factory=list)
    references: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    partitions: int = 0

    def not_null(self, name: str) -> bool:
        """Whether the column always has a value."""
        return name in self.primary or any(
            name == each and f.get("not_null") == "yes" for each, f in self.columns
        )

    def at_most_one(self, names: Sequence[str]) -> bool:
        """Whether no two rows have the same values there."""
        return any(key and set(key) <= set(names) for key in (self.primary, *self.unique))


def entity_diagram(snapshots: Iterable[Snapshot]) -> Diagram:
    """The tables and enum types of these catalogues, a group for each; partitions belong to their table."""
    taken = list(snapshots)
    parts = [_of(snapshot) for snapshot in taken]
    origins = " and ".join(f"{each.database} ({each.origin})" for each in taken)
    return Diagram(
        f"Tables of {origins}",
        tuple(each.database for each in taken),
        tuple(node for nodes, _ in parts for node in nodes),
        tuple(edge for _, edges in parts for edge in edges),
    )


def _of(snapshot: Snapshot) -> tuple[list[Node], list[Edge]]:
    database = snapshot.database
    tables = _tables(snapshot)
    nodes = [_table_node(database, table) for table in tables.values()]
    edges = [edge for table in tables.values() for edge in _relations(database, table, tables)]
    for key, fields in snapshot.of("enum"):
        labels = (fields.get("labels") or "").split("\n")
        rows = tuple(Row(label) for label in labels if label)
        nodes.append(Node(_id(database, key), database, NodeKind.ENUM, shown(key.identity), rows=rows))
        edges += _uses(database, key, tables.values())
    return nodes, edges


def _id(database: str, key: ObjectKey) -> str:
    return f"{database} {key}"


def _tables(snapshot: Snapshot) -> dict[str, _Table]:
    """The tables by identity, with all that belongs to them; partitions are counted only."""
    tables: dict[str, _Table] = {}
    for kind in ("table", "foreign table"):
        for key, fields in snapshot.of(kind):
            if not fields.get("partition_of"):
                tables[f"{kind} {key.identity}"] = _Table(key.identity)
    for _, fields in snapshot.of("table"):
        parent = tables.get(f"table {fields.get('partition_of')}")
        if parent is not None:
            parent.partitions += 1
    for key, fields in snapshot.of("column"):
        table = tables.get(fields.get("of") or "")
        if table is not None:
            table.columns.append((key.identity.removeprefix(f"{table.identity}."), fields))
    for _, fields in snapshot.of("constraint"):
        table = tables.get(fields.get("of") or "")
        if table is not None:
            _read_constraint(table, fields)
    for _, fields in snapshot.of("index"):
        table = tables.get(fields.get("of") or "")
        match = _UNIQUE_INDEX.fullmatch(fields.get("definition") or "")
        if table is not None and match and not fields.get("constraint"):
            table.unique.append(_names(match[1]))
    for table in tables.values():
        table.columns.sort(key=lambda column: int(column[1].get("position") or 0))
    return {table.identity: table for table in tables.values()}


def _read_constraint(table: _Table, fields: Fields) -> None:
    definition = fields.get("definition") or ""
    if match := _FOREIGN_KEY.match(definition):
        table.references.append((_names(match[1]), match[2]))
    elif match := _UNIQUE_KEY.match(definition):
        if fields.get("type") == "primary key":
            table.primary = _names(match[1])
        else:
            table.unique.append(_names(match[1]))


def _names(listed: str) -> tuple[str, ...]:
    return tuple(re.findall(IDENTIFIER, re.sub(r"(^|, )PERIOD ", r"\1", listed)))


def _table_node(database: str, table: _Table) -> Node:
    shared = [key for key in table.unique if len(key) > 1]
    rows = []
    for name, fields in table.columns:
        keys = [PRIMARY_KEY] if name in table.primary else []
        keys += [FOREIGN_KEY] if any(name in columns for columns, _ in table.references) else []
        keys += [UNIQUE] if (name,) in table.unique else []
        keys += [f"{UNIQUE}{number}" for number, key in enumerate(shared, 1) if name in key]
        rows.append(Row(shown(name), short(fields.get("type") or ""), tuple(keys), table.not_null(name)))
    partitions = (f"{table.partitions} partition{'s' * (table.partitions > 1)}",) if table.partitions else ()
    return Node(
        _id(database, ObjectKey("table", table.identity)),
        database,
        NodeKind.TABLE,
        shown(table.identity),
        partitions,
        rows=tuple(rows),
    )


def _relations(database: str, table: _Table, tables: dict[str, _Table]) -> Iterator[Edge]:
    for columns, referenced in table.references:
        if referenced not in tables:
            continue
        one = Cardinality.ONE if all(map(table.not_null, columns)) else Cardinality.OPTIONAL
        many = Cardinality.OPTIONAL if table.at_most_one(columns) else Cardinality.MANY
        yield Edge(
            _id(database, ObjectKey("table", referenced)),
            _id(database, ObjectKey("table", table.identity)),
            EdgeKind.REFERENCES,
            ", ".join(map(shown, columns)),
            (one, many),
        )


def _uses(database: str, enum: ObjectKey, tables: Iterable[_Table]) -> Iterator[Edge]:
    for table in tables:
        names = [
            shown(name)
            for name, fields in table.columns
            if (fields.get("type") or "").removesuffix("[]") == enum.identity
        ]
        if names:
            target = _id(database, ObjectKey("table", table.identity))
            yield Edge(_id(database, enum), target, EdgeKind.USES, ", ".join(names))


def shown(identity: str) -> str:
    """An identity as people read it: without quotes, and without the schema everything is in by default."""
    return ".".join(map(unquote, split_identity(identity.removeprefix(_USUAL_SCHEMA))))


def short(type_: str) -> str:
    """A type by the shorter of its names in PostgreSQL."""
    for pattern, name in _SHORTER:
        type_ = pattern.sub(name, type_)
    return type_.removeprefix(_USUAL_SCHEMA)
