"""Write a diagram as Mermaid, for Markdown: a flowchart of revisions, an erDiagram of tables.

Escaping follows the grammars of Mermaid 12.3 (flow.jison, erDiagram.jison) and was tested with its parser.
Mermaid 10.9 reads the same, except names of columns and types that are not ASCII.
"""

import json
import re
from collections.abc import Iterator

from circle_migrate.commands.graph import drawing
from circle_migrate.commands.graph.drawing import Diagram, EdgeKind, Node, NodeKind, Row, printable

MAX_EDGES = 500
MAX_CHARACTERS = 50_000
"""Mermaid's defaults of `maxEdges` and `maxTextSize`, which the text of a diagram cannot raise."""

_ARROWS = {EdgeKind.FOLLOWS: "-->", EdgeKind.DEPENDS: "-.->", EdgeKind.REQUIRES: "-.->"}
_ENDS = {
    drawing.Cardinality.ONE: ("||", "||"),
    drawing.Cardinality.OPTIONAL: ("|o", "o|"),
    drawing.Cardinality.MANY: ("}o", "o{"),
}
_CLASSES = {
    drawing.HEAD: "stroke:#0969da,stroke-width:3px",
    drawing.CURRENT: "fill:#2da44e,color:#ffffff",
    NodeKind.ELSEWHERE: "stroke-dasharray:4 3,opacity:0.6",
}


def mermaid(diagram: Diagram) -> str:
    """Return the diagram as Mermaid."""
    names = {node.id: f"n{number}" for number, node in enumerate(diagram.nodes)}
    body = _entities(diagram, names) if diagram.is_relational else _flowchart(diagram, names)
    # A percent sign could begin a directive, which Mermaid removes before it reads the title.
    title = json.dumps(printable(diagram.title)).replace("%", "\\u0025")
    return "\n".join(["---", f"title: {title}", "---", *body, ""])


def _flowchart(diagram: Diagram, names: dict[str, str]) -> Iterator[str]:
    yield "flowchart TB"
    for number, group in enumerate(diagram.groups):
        yield f'    subgraph g{number}["{escape(group)}"]'
        for node in diagram.within(group):
            yield f"        {names[node.id]}{_box(node)}"
        yield "    end"
    for edge in diagram.edges:
        label = "" if edge.link is EdgeKind.FOLLOWS else f'|"{edge.link}"|'
        yield f"    {names[edge.source]} {_ARROWS[edge.link]}{label} {names[edge.target]}"
    for name in (drawing.HEAD, drawing.CURRENT, NodeKind.ELSEWHERE):
        if nodes := [node for node in diagram.nodes if name in (*node.marks, node.shape)]:
            yield f"    classDef {name} {_CLASSES[name]}"
            yield f"    class {','.join(names[node.id] for node in nodes)} {name}"


def _box(node: Node) -> str:
    marks = (" · ".join(node.marks),) if node.marks else ()
    text = "<br/>".join(escape(line) for line in (node.title, *node.lines, *marks))
    if drawing.CURRENT in node.marks:
        return f'(["{text}"])'
    return f'("{text}")' if drawing.HEAD in node.marks else f'["{text}"]'


def _entities(diagram: Diagram, names: dict[str, str]) -> Iterator[str]:
    yield "erDiagram"
    for node in diagram.nodes:
        lines = (node.group, *node.lines) if len(diagram.groups) > 1 else node.lines
        title = escape(" ".join([node.title, *(f"({line})" for line in lines)]))
        yield f'    {names[node.id]}["{title}"] {{'
        yield from (f"        {_attribute(row)}" for row in node.rows)
        yield "    }"
    for edge in diagram.edges:
        relation = f"{_ENDS[edge.ends[0]][0]}--{_ENDS[edge.ends[1]][1]}" if edge.ends else "||..o{"
        yield f'    {names[edge.source]} {relation} {names[edge.target]} : "{escape(edge.label)}"'


def _attribute(row: Row) -> str:
    name, type_ = attribute_word(row.name), attribute_word(row.type or "label")
    keys = dict.fromkeys(key[:2] for key in row.keys)
    comments = [key for key in row.keys if key not in keys]
    comments += ["not null"] if row.not_null and "PK" not in keys else []
    comments += [text for text, written in ((row.name, name), (row.type, type_)) if text not in ("", written)]
    parts = [type_, name, ", ".join(keys), f'"{escape(", ".join(comments))}"' if comments else ""]
    return " ".join(filter(None, parts))


def attribute_word(text: str) -> str:
    """Return the text as the name or type of an attribute, with `_` for characters that are not allowed."""
    word = re.sub(r"[^A-Za-z0-9_\-\[\]()\u00C0-\U0010FFFF]|\s", "_", printable(text))
    # PK, FK and UK are keywords in any case, also at the beginning of a longer word.
    bad_start = not re.match(r"[A-Za-z_\u00C0-\U0010FFFF]", word)
    return f"_{word}" if bad_start or re.match(r"(?i)[pfu]k\b", word, re.ASCII) else word


def escape(text: str) -> str:
    """Return the text for a quoted string, with codes for the syntax of Mermaid, Markdown and HTML."""
    text = " ".join(printable(text).split()) or " "
    text = re.sub(r"[^\w .,()/-]", lambda match: _code(match[0]), text)
    # Markdown: emphasis and the beginnings of lists. Grammar: `direction TB` anywhere on a line.
    text = re.sub(r"(?<!\w)_+|_+(?!\w)", lambda match: "".join(map(_code, match[0])), text)
    text = re.sub(r"^(\d*)([.)-])", lambda match: match[1] + _code(match[2]), text)
    return re.sub(r"(?i)(directio)(n)(?= )", lambda match: match[1] + _code(match[2]), text)


def _code(character: str) -> str:
    # Characters outside ASCII have no meaning in any of them.
    return f"#{ord(character)};" if character.isascii() else character
