"""Diagrams as values: nodes, edges and groups, without a format."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.core.result import Result, json_fields


class NodeKind(StrEnum):
    """The kind of a node; `elsewhere` is a revision that only a reference of another one names."""

    REVISION = "revision"
    ELSEWHERE = "elsewhere"
    TABLE = "table"
    ENUM = "enum"


class EdgeKind(StrEnum):
    """The kind of an edge, which leads from the node that must exist first to the one that needs it."""

    FOLLOWS = "follows"
    DEPENDS = "depends on"
    REQUIRES = "requires"
    REFERENCES = "references"
    USES = "uses"


class Cardinality(StrEnum):
    """The number of rows at one end of an edge that belong to one row at the other end."""

    ONE = "exactly one"
    OPTIONAL = "zero or one"
    MANY = "zero or more"


_UNPRINTABLE = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
"""Unicode categories of control, format, unassigned, surrogate and line separator characters."""

_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Format characters that some scripts and emoji need."""

HEAD = "head"
CURRENT = "current"

PRIMARY_KEY = "PK"
FOREIGN_KEY = "FK"
UNIQUE = "UK"
"""The mark of a unique column; the columns of a composite key have its number, too: UK1."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a node: a column with its type, or the label of an enum, which has no type."""

    name: str
    type: str = ""
    keys: tuple[str, ...] = ()
    not_null: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A node; `marks` are words such as `head` and `current`, `lines` are texts below the title."""

    id: str
    group: str
    shape: NodeKind
    title: str
    lines: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge between two nodes, given by their ids; `ends` are those of a foreign key: source, target."""

    source: str
    target: str
    link: EdgeKind
    label: str = ""
    ends: tuple[Cardinality, Cardinality] | None = None


@dataclass(frozen=True, slots=True)
class Diagram:
    """A diagram; `groups` are the databases in their order, and every node belongs to one of them."""

    title: str
    groups: tuple[str, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @property
    def is_relational(self) -> bool:
        """Whether the diagram shows tables, not revisions."""
        return any(node.shape in (NodeKind.TABLE, NodeKind.ENUM) for node in self.nodes)

    def within(self, group: str) -> Iterator[Node]:
        """Return the nodes of a group."""
        return (node for node in self.nodes if node.group == group)


@dataclass(frozen=True, slots=True)
class DiagramResult(Result):
    """The result of `graph`: a diagram, its text, the file with the text, and notes for the user."""

    drawing: Diagram
    format: DiagramFormat
    text: str
    file: str | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the diagram as values, and as text unless a file has it."""
        return {
            "form": str(self.format),
            "file": self.file,
            "text": self.text if self.file is None else None,
            **json_fields(self, "notes drawing"),
        }


def printable(text: str) -> str:
    """Return the text on one line, with control pictures or U+FFFD for unprintable characters.

    XML 1.0 forbids control characters, direction marks reorder text, and programs differ about characters
    without a width.
    """
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else chr(0x2400 + min(ord(character), 0x21))
    is_printable = unicodedata.category(character) not in _UNPRINTABLE or character in _JOINERS
    return character if is_printable else "\N{REPLACEMENT CHARACTER}"
