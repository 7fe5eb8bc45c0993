"""Diagrams of tables with their columns, keys and relations."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from circle_migrate.commands.graph import drawing
from circle_migrate.commands.graph.drawing import Diagram, Edge, EdgeKind, Node, NodeKind, Row
from circle_migrate.core.counted import counted
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey, Snapshot
from circle_migrate.postgres.identifier import IDENTIFIER, split_identity, unquote

_NAMES = rf"\(((?:PERIOD )?{IDENTIFIER}(?:, (?:PERIOD )?{IDENTIFIER})*)\)"
_FOREIGN_KEY = re.compile(rf"FOREIGN KEY {_NAMES} REFERENCES ({IDENTIFIER}(?:\.{IDENTIFIER})?){_NAMES}")
_UNIQUE_KEY = re.compile(rf"(?:PRIMARY KEY|UNIQUE)(?: NULLS NOT DISTINCT)? {_NAMES}")
_UNIQUE_INDEX = re.compile(
    rf"CREATE UNIQUE INDEX {IDENTIFIER} ON (?:ONLY )?{IDENTIFIER}(?:\.{IDENTIFIER})? USING btree {_NAMES}"
    rf"(?: INCLUDE {_NAMES})?(?: NULLS NOT DISTINCT)?"
)
"""An index on columns over all rows: one with an expression or a condition makes no column unique."""

# PostgreSQL's short names of types that format_type() prints in full.
_SHORT_TYPES = (
    (re.compile(r"\bcharacter varying\b"), "varchar"),
    (re.compile(r"\bcharacter\b"), "char"),
    (re.compile(r"\b(timestamp|time)(\(\d\))? with time zone\b"), r"\1tz\2"),
    (re.compile(r"\b(timestamp|time)(\(\d\))? without time zone\b"), r"\1\2"),
    (re.compile(r"\bdouble precision\b"), "float8"),
)

_DEFAULT_SCHEMA = "public."


@dataclass(slots=True)
class _Table:
    """A table of the catalog; names are quoted as in SQL."""

    identity: str
    columns: list[tuple[str, Fields]] = field(default_factory=list)
    primary: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = field(default_factory=list)
    references: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    partitions: int = 0

    def not_null(self, name: str) -> bool:
        return name in self.primary or dict(self.columns).get(name, {}).get("not_null") == "yes"


def entity_diagram(snapshots: Sequence[Snapshot]) -> Diagram:
    """Return the tables and enum types of the catalogs, a group for each; partitions are only counted."""
    parts = [_nodes_and_edges(snapshot) for snapshot in snapshots]
    origins = " and ".join(f"{snapshot.database} ({snapshot.origin})" for snapshot in snapshots)
    return Diagram(
        f"Tables of {origins}",
        tuple(snapshot.database for snapshot in snapshots),
        tuple(node for nodes, _ in parts for node in nodes),
        tuple(edge for _, edges in parts for edge in edges),
    )


def _nodes_and_edges(snapshot: Snapshot) -> tuple[list[Node], list[Edge]]:
    database = snapshot.database
    tables = _tables(snapshot)
    nodes = [_table_node(database, table) for table in tables.values()]
    edges = [edge for table in tables.values() for edge in _foreign_keys(database, table, tables)]
    for key, fields in snapshot.of_kind("enum"):
        labels = (fields.get("labels") or "").split("\n")
        rows = tuple(Row(label) for label in labels if label)
        title = display_name(key.identity)
        nodes.append(Node(f"{database} {key}", database, NodeKind.ENUM, title, rows=rows))
        edges += _enum_uses(database, key, tables.values())
    return nodes, edges


def _table_id(database: str, identity: str) -> str:
    return f"{database} table {identity}"


def _tables(snapshot: Snapshot) -> dict[str, _Table]:
    """Return the tables by identity; partitions are only counted."""
    tables = {
        f"{kind} {key.identity}": _Table(key.identity)
        for kind in ("table", "foreign table")
        for key, fields in snapshot.of_kind(kind)
        if not fields.get("partition_of")
    }
    for _, fields in snapshot.of_kind("table"):
        parent = tables.get(f"table {fields.get('partition_of')}")
        if parent is not None:
            parent.partitions += 1
    for kind in ("column", "constraint", "index"):
        for key, fields in snapshot.of_kind(kind):
            table = tables.get(fields.get("of") or "")
            if table is None:
                continue
            definition = fields.get("definition") or ""
            if kind == "column":
                table.columns.append((key.identity.removeprefix(f"{table.identity}."), fields))
            elif match := _FOREIGN_KEY.match(definition):
                table.references.append((_names(match[1]), match[2]))
            elif kind == "index" and fields.get("constraint"):
                continue  # the constraint has the same columns
            elif match := _UNIQUE_KEY.match(definition) or _UNIQUE_INDEX.fullmatch(definition):
                if fields.get("type") == "primary key":
                    table.primary = _names(match[1])
                else:
                    table.unique.append(_names(match[1]))
    for table in tables.values():
        table.columns.sort(key=lambda column: int(column[1].get("position") or 0))
    return {table.identity: table for table in tables.values()}


def _names(columns: str) -> tuple[str, ...]:
    return tuple(re.findall(IDENTIFIER, re.sub(r"(^|, )PERIOD ", r"\1", columns)))


def _table_node(database: str, table: _Table) -> Node:
    shared = [key for key in table.unique if len(key) > 1]
    rows = []
    for name, fields in table.columns:
        keys = [drawing.PRIMARY_KEY] if name in table.primary else []
        keys += [drawing.FOREIGN_KEY] if any(name in columns for columns, _ in table.references) else []
        keys += [drawing.UNIQUE] if (name,) in table.unique else []
        keys += [f"{drawing.UNIQUE}{number}" for number, key in enumerate(shared, 1) if name in key]
        rows.append(
            Row(display_name(name), short_type(fields.get("type") or ""), tuple(keys), table.not_null(name))
        )
    partitions = (counted(table.partitions, "partition"),) if table.partitions else ()
    node_id, title = _table_id(database, table.identity), display_name(table.identity)
    return Node(node_id, database, NodeKind.TABLE, title, partitions, rows=tuple(rows))


def _foreign_keys(database: str, table: _Table, tables: dict[str, _Table]) -> Iterator[Edge]:
    for columns, referenced in table.references:
        if referenced not in tables:
            continue
        one = drawing.Cardinality.ONE if all(map(table.not_null, columns)) else drawing.Cardinality.OPTIONAL
        unique = any(key and set(key) <= set(columns) for key in (table.primary, *table.unique))
        many = drawing.Cardinality.OPTIONAL if unique else drawing.Cardinality.MANY
        yield Edge(
            _table_id(database, referenced),
            _table_id(database, table.identity),
            EdgeKind.REFERENCES,
            ", ".join(map(display_name, columns)),
            (one, many),
        )


def _enum_uses(database: str, enum: ObjectKey, tables: Iterable[_Table]) -> Iterator[Edge]:
    for table in tables:
        names = [
            display_name(name)
            for name, fields in table.columns
            if (fields.get("type") or "").removesuffix("[]") == enum.identity
        ]
        if names:
            target = _table_id(database, table.identity)
            yield Edge(f"{database} {enum}", target, EdgeKind.USES, ", ".join(names))


def display_name(identity: str) -> str:
    """Return an identity without quotes and without the schema public."""
    return ".".join(map(unquote, split_identity(identity.removeprefix(_DEFAULT_SCHEMA))))


def short_type(type_: str) -> str:
    """Return the short name of a type."""
    for pattern, name in _SHORT_TYPES:
        type_ = pattern.sub(name, type_)
    return type_.removeprefix(_DEFAULT_SCHEMA)
