"""Drawings as Mermaid, for Markdown: a flowchart of revisions, an erDiagram of tables.

The rules for texts are those of the grammars in Mermaid 12.3 (flow.jison, erDiagram.jison), found with its
parser. Mermaid 10.9 reads the same, except for columns and types whose names are not ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from circle_migrate.commands.graph.drawing import (
    CURRENT,
    HEAD,
    Cardinality,
    Diagram,
    Edge,
    EdgeKind,
    Node,
    NodeKind,
    Row,
    printable,
)

MOST_EDGES = 500
MOST_CHARACTERS = 50_000
"""What Mermaid draws where its settings `maxEdges` and `maxTextSize` are not raised; a page cannot do so."""

_ARROWS = {EdgeKind.FOLLOWS: "-->", EdgeKind.DEPENDS: "-.->", EdgeKind.REQUIRES: "-.->"}
_ENDS = {
    Cardinality.ONE: ("||", "||"),
    Cardinality.OPTIONAL: ("|o", "o|"),
    Cardinality.MANY: ("}o", "o{"),
}
_CLASSES = {
    HEAD: "stroke:#0969da,stroke-width:3px",
    CURRENT: "fill:#2da44e,color:#ffffff",
    NodeKind.ELSEWHERE: "stroke-dasharray:4 3,opacity:0.6",
}


def mermaid(drawing: Diagram) -> str:
    """The drawing as text for a Mermaid block."""
    names = {node.id: f"n{number}" for number, node in enumerate(drawing.nodes)}
    body = _entities(drawing, names) if drawing.is_relational else _flowchart(drawing, names)
    # A percent sign could begin a directive, which is cut out before the title is read.
    title = json.dumps(printable(drawing.title)).replace("%", "\\u0025")
    return "\n".join(["---", f"title: {title}", "---", *body, ""])


def too_large(text: str, drawing: Diagram) -> bool:
    """Whether Mermaid refuses to draw it with the settings it comes with."""
    return len(text) > MOST_CHARACTERS or len(drawing.edges) > MOST_EDGES


def _flowchart(drawing: Diagram, names: dict[str, str]) -> Iterator[str]:
    yield "flowchart TB"
    for number, group in enumerate(drawing.groups):
        yield f'    subgraph g{number}["{escape(group)}"]'
        for node in drawing.within(group):
            yield f"        {names[node.id]}{_box(node)}"
        yield "    end"
    for edge in drawing.edges:
        label = "" if edge.link is EdgeKind.FOLLOWS else f'|"{edge.link}"|'
        yield f"    {names[edge.source]} {_ARROWS[edge.link]}{label} {names[edge.target]}"
    classes = [(each, [n for n in drawing.nodes if each in n.marks]) for each in (HEAD, CURRENT)]
    classes.append((NodeKind.ELSEWHERE, [n for n in drawing.nodes if n.shape is NodeKind.ELSEWHERE]))
    for name, nodes in classes:
        if nodes:
            yield f"    classDef {name} {_CLASSES[name]}"
            yield f"    class {','.join(names[node.id] for node in nodes)} {name}"


def _box(node: Node) -> str:
    marks = (" · ".join(node.marks),) if node.marks else ()
    text = "<br/>".join(escape(line) for line in (node.title, *node.lines, *marks))
    if CURRENT in node.marks:
        return f'(["{text}"])'
    return f'("{text}")' if HEAD in node.marks else f'["{text}"]'


def _entities(drawing: Diagram, names: dict[str, str]) -> Iterator[str]:
    yield "erDiagram"
    for node in drawing.nodes:
        also = (node.group, *node.lines) if len(drawing.groups) > 1 else node.lines
        title = escape(" ".join([node.title, *(f"({line})" for line in also)]))
        yield f'    {names[node.id]}["{title}"] {{'
        yield from (f"        {_attribute(row)}" for row in node.rows)
        yield "    }"
    for edge in drawing.edges:
        yield f'    {names[edge.source]} {_relation(edge)} {names[edge.target]} : "{escape(edge.label)}"'


def _relation(edge: Edge) -> str:
    if edge.ends is None:
        return "||..o{"
    left, right = edge.ends
    return f"{_ENDS[left][0]}--{_ENDS[right][1]}"


def _attribute(row: Row) -> str:
    name, type_ = word(row.name), word(row.type or "label")
    keys = dict.fromkeys(key[:2] for key in row.keys)
    comments = [key for key in row.keys if key not in keys]
    comments += ["not null"] if row.not_null and "PK" not in keys else []
    comments += [text for text, written in ((row.name, name), (row.type, type_)) if text not in ("", written)]
    parts = [type_, name, ", ".join(keys), f'"{escape(", ".join(comments))}"' if comments else ""]
    return " ".join(filter(None, parts))


def word(text: str) -> str:
    """The text as the name or type of an attribute, which knows no quoting; `_` for what cannot be there."""
    written = re.sub(r"[^A-Za-z0-9_\-\[\]()\u00C0-\U0010FFFF]|\s", "_", printable(text))
    # Any case of PK, FK and UK is a keyword, also as the beginning of a longer word.
    bad_start = not re.match(r"[A-Za-z_\u00C0-\U0010FFFF]", written)
    return f"_{written}" if bad_start or re.match(r"(?i)[pfu]k\b", written, re.ASCII) else written


def escape(text: str) -> str:
    """The text for between double quotes: whatever Mermaid, its Markdown or HTML give a meaning as a code."""
    text = " ".join(printable(text).split()) or " "
    text = re.sub(r"[^\w .,()/-]", lambda match: _code(match[0]), text)
    # Markdown: emphasis, and what begins a list or a line. Grammar: `direction TB` anywhere on a line.
    text = re.sub(r"(?<!\w)_+|_+(?!\w)", lambda match: "".join(map(_code, match[0])), text)
    text = re.sub(r"^(\d*)([.)-])", lambda match: match[1] + _code(match[2]), text)
    return re.sub(r"(?i)(directio)(n)(?= )", lambda match: match[1] + _code(match[2]), text)


def _code(character: str) -> str:
    # Non-ASCII characters mean nothing to any of them.
    return f"#{ord(character)};" if character.isascii() else character
