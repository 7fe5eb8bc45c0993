"""Write a diagram in Graphviz's DOT language: https://graphviz.org/doc/info/lang.html."""

import subprocess
from collections.abc import Iterator
from html import escape as escape_html

from circle_migrate.commands.graph import drawing
from circle_migrate.commands.graph.drawing import Diagram, Edge, EdgeKind, Node, NodeKind, Row, printable
from circle_migrate.core.errors import UsageError

_STYLES = {
    EdgeKind.FOLLOWS: "solid",
    EdgeKind.DEPENDS: "dotted",
    EdgeKind.REQUIRES: "dashed",
    EdgeKind.REFERENCES: "solid",
    EdgeKind.USES: "dotted",
}
_ARROWS = {
    drawing.Cardinality.ONE: "teetee",
    drawing.Cardinality.OPTIONAL: "teeodot",
    drawing.Cardinality.MANY: "crowodot",
}
_HEAD = "#0969da"
_CURRENT = "#2da44e"


def dot(diagram: Diagram) -> str:
    """Return the diagram as a DOT graph."""
    names = {node.id: f"n{number}" for number, node in enumerate(diagram.nodes)}
    lines = [
        "digraph {",
        f"    graph [{_attributes(label=diagram.title, labelloc='t', fontname='Helvetica', rankdir='TB')}]",
        '    node [fontname="Helvetica", fontsize=11, shape=box]',
        '    edge [fontname="Helvetica", fontsize=9]',
    ]
    for number, group in enumerate(diagram.groups):
        lines.append(f"    subgraph cluster_{number} {{")
        lines.append(f"        graph [{_attributes(label=group, style='rounded', color='gray')}]")
        lines += [f"        {names[node.id]} [{_node(node)}]" for node in diagram.within(group)]
        lines.append("    }")
    lines += [f"    {names[edge.source]} -> {names[edge.target]} [{_edge(edge)}]" for edge in diagram.edges]
    lines += _legend(diagram)
    return "\n".join([*lines, "}", ""])


def _quote(text: str) -> str:
    """Return the text as a DOT string without escape sequences or entities."""
    text = escape_html(printable(text), quote=False).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _attributes(**values: str) -> str:
    return ", ".join(f"{name}={_quote(value)}" for name, value in values.items())


def _node(node: Node) -> str:
    if node.shape in (NodeKind.TABLE, NodeKind.ENUM):
        return f"shape=plain, label=<{_table(node)}>"
    head, current = drawing.HEAD in node.marks, drawing.CURRENT in node.marks
    values = {
        "style": "rounded,filled" if current else "dashed" if node.shape is NodeKind.ELSEWHERE else "rounded"
    }
    if current:
        values |= {"fillcolor": _CURRENT, "fontcolor": "white"}
    if head:
        values |= {"color": _HEAD, "penwidth": "3"}
    marks = " · ".join(node.marks)
    lines = [f"<B>{_html(node.title)}</B>", *map(_html, node.lines)] + ([f"<I>{marks}</I>"] if marks else [])
    return f"{_attributes(**values)}, label=<{'<BR/>'.join(lines)}>"


def _table(node: Node) -> str:
    wide = 'COLSPAN="4"'
    colour = "gray90" if node.shape is NodeKind.TABLE else "lightyellow"
    head = f'<TR><TD {wide} BGCOLOR="{colour}"><B>{_html(node.title)}</B></TD></TR>'
    below = "".join(f"<TR><TD {wide}><I>{_html(line)}</I></TD></TR>" for line in node.lines)
    rows = "".join(map(_row, node.rows))
    return f'<TABLE BORDER="0" CELLBORDER="1" CELLSPACING="0" CELLPADDING="3">{head}{below}{rows}</TABLE>'


def _row(row: Row) -> str:
    if not row.type:
        return f'<TR><TD COLSPAN="4" ALIGN="LEFT">{_html(row.name)}</TD></TR>'
    not_null = "NOT NULL" if row.not_null and "PK" not in row.keys else ""
    cells = (row.name, row.type, " ".join(row.keys), not_null)
    return "<TR>" + "".join(f'<TD ALIGN="LEFT">{_html(cell)}</TD>' for cell in cells) + "</TR>"


def _edge(edge: Edge) -> str:
    values = {"style": _STYLES[edge.link]}
    if edge.label:
        values["label"] = edge.label
    if edge.ends:
        tail, head = edge.ends
        values |= {"dir": "both", "arrowtail": _ARROWS[tail], "arrowhead": _ARROWS[head]}
    elif edge.link is EdgeKind.USES:
        values["arrowhead"] = "none"
    return _attributes(**values)


def _legend(diagram: Diagram) -> Iterator[str]:
    """Yield a table that explains marks and line styles."""
    marks = {mark for node in diagram.nodes for mark in node.marks}
    descriptions = {drawing.HEAD: "blue border: head", drawing.CURRENT: "green: current"}
    texts = [text for mark, text in descriptions.items() if mark in marks]
    links = set() if diagram.is_relational else {edge.link for edge in diagram.edges}
    texts += [f"{style} line: {link}" for link, style in _STYLES.items() if link in links]
    if texts:
        rows = "".join(f'<TR><TD ALIGN="LEFT">{text}</TD></TR>' for text in texts)
        table = f'<TABLE BORDER="1" CELLBORDER="0" COLOR="gray">{rows}</TABLE>'
        yield f"    legend [shape=plain, label=<{table}>]"


def _html(text: str) -> str:
    # Graphviz reads a closing bracket as the end of CDATA, and an empty <B></B> as a syntax error.
    escaped = escape_html(printable(text)).replace("]", "&#93;")
    return escaped if escaped.strip() else "&#160;"


def svg(diagram: Diagram) -> str:
    """Convert the DOT graph with `dot -Tsvg`. Raises `UsageError` if `dot` is not on PATH, or fails."""
    try:
        process = subprocess.run(
            ["dot", "-Tsvg"],  # noqa: S607 - the user's own Graphviz
            input=dot(diagram),
            capture_output=True,
            check=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C interrupts this process, which then kills dot
        )
    except OSError as error:
        raise UsageError(
            "SVG needs Graphviz's `dot`, which cannot be started",
            detail=error.strerror,
            hint="install Graphviz (apt install graphviz, brew install graphviz), or use --as mermaid or dot",
        ) from error
    except subprocess.CalledProcessError as error:
        raise UsageError(
            f"Graphviz's `dot` ended with status {error.returncode}",
            detail=error.stderr.strip(),
            hint="use --as mermaid or dot",
        ) from error
    return process.stdout
