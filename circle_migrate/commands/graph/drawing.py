"""Diagrams as values: boxes, lines between them, and the groups they stand in; not how they look."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.core.result import Result


class NodeKind(StrEnum):
    """What a box stands for; `elsewhere` is a revision that is named and not itself part of the drawing."""

    REVISION = "revision"
    ELSEWHERE = "elsewhere"
    TABLE = "table"
    ENUM = "enum"


class EdgeKind(StrEnum):
    """What a line stands for, from the box that must exist first to the one that needs it."""

    FOLLOWS = "follows"
    DEPENDS = "depends on"
    REQUIRES = "requires"
    REFERENCES = "references"
    USES = "uses"


class Cardinality(StrEnum):
    """How many rows of the box at an end of a line belong to one row at the other end."""

    ONE = "exactly one"
    OPTIONAL = "zero or one"
    MANY = "zero or more"


_DISTURBING = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
"""Unicode's categories of control, format, unassigned and half characters, and of ends of lines."""

_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Format characters that scripts and emoji are written with."""

HEAD = "head"
CURRENT = "current"

PRIMARY_KEY = "PK"
FOREIGN_KEY = "FK"
UNIQUE = "UK"
"""The mark of a column with a UNIQUE of its own; columns that share one have it with its number: UK1."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table's box: a column with its type, or a label of an enum, which has none."""

    name: str
    type: str = ""
    keys: tuple[str, ...] = ()
    not_null: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A box. `marks` are words such as `head` and `current`, `lines` are texts below the title."""

    id: str
    group: str
    shape: NodeKind
    title: str
    lines: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """A line between two boxes, named by their ids. `ends` are there for relations alone: source, target."""

    source: str
    target: str
    link: EdgeKind
    label: str = ""
    ends: tuple[Cardinality, Cardinality] | None = None


@dataclass(frozen=True, slots=True)
class Diagram:
    """A diagram. `groups` are the databases in their order; every node belongs to one of them."""

    title: str
    groups: tuple[str, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @property
    def is_relational(self) -> bool:
        """Whether it shows tables, and not revisions."""
        return any(node.shape in (NodeKind.TABLE, NodeKind.ENUM) for node in self.nodes)

    def within(self, group: str) -> Iterator[Node]:
        """The nodes of a group."""
        return (node for node in self.nodes if node.group == group)

    def marks(self) -> tuple[str, ...]:
        """The marks that need explaining: those that some box has."""
        return tuple(mark for mark in (HEAD, CURRENT) if any(mark in node.marks for node in self.nodes))

    def links(self) -> tuple[EdgeKind, ...]:
        """The kinds of lines there are."""
        edge_kinds = {edge.link for edge in self.edges}
        return tuple(link for link in EdgeKind if link in edge_kinds)

    def to_dict(self) -> dict[str, Any]:
        """The drawing as the JSON output shows it."""
        return {
            "title": self.title,
            "groups": list(self.groups),
            "nodes": [_node(node) for node in self.nodes],
            "edges": [_edge(edge) for edge in self.edges],
        }


@dataclass(frozen=True, slots=True)
class DiagramResult(Result):
    """A drawing and its text: `graph`. `file` is where the text was saved, `notes` what to know of it."""

    drawing: Diagram
    form: DiagramFormat
    text: str
    file: str | None = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The drawing as values, and as text unless that is in a file."""
        return {
            "form": str(self.form),
            "file": self.file,
            "text": self.text if self.file is None else None,
            "notes": list(self.notes),
            "drawing": self.drawing.to_dict(),
        }


def printable(text: str) -> str:
    """Return the text on one line, with control pictures or U+FFFD for characters that cannot be drawn.

    XML 1.0 allows no control characters, marks of direction reorder the text around them, and some
    characters without a width end a word for one reader and not for another.
    """
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else chr(0x2400 + min(ord(character), 0x21))
    harmless = unicodedata.category(character) not in _DISTURBING or character in _JOINERS
    return character if harmless else "\N{REPLACEMENT CHARACTER}"


def _node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "group": node.group,
        "shape": str(node.shape),
        "title": node.title,
        "lines": list(node.lines),
        "marks": list(node.marks),
        "rows": [
            {"name": row.name, "type": row.type, "keys": list(row.keys), "not_null": row.not_null}
            for row in node.rows
        ],
    }


def _edge(edge: Edge) -> dict[str, Any]:
    return {
        "source": edge.source,
        "target": edge.target,
        "link": str(edge.link),
        "label": edge.label,
        "ends": [str(end) for end in edge.ends] if edge.ends else None,
    }
