"""Diagrams: what they show, and that no name breaks them in any form."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circle_migrate.commands.graph.drawing import (
    Cardinality,
    Diagram,
    Edge,
    EdgeKind,
    Node,
    NodeKind,
    Row,
    printable,
)
from circle_migrate.commands.graph.entity_diagram import display_name, entity_diagram, short_type
from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.commands.graph.graph import resolve_format, revision_trees, write_diagram
from circle_migrate.commands.graph.mermaid import attribute_word, escape
from circle_migrate.commands.history import ListedRevision, RevisionList
from circle_migrate.core.errors import UsageError
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Snapshot
from circle_migrate.postgres.identifier import quote
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision

SVG = "{http://www.w3.org/2000/svg}"

# Each of these broke a reader of one of the forms, or looks as if it might.
HOSTILE = [
    *('"', "'", "<", ">", "&", "|", "\\", "%", "#", ";", "~", "`", "[", "]", "{", "}", "(", ")", "$", ":"),
    *(
        "\n",
        "\t",
        "\x01",
        "\x7f",
        "\u2028",
        "\u202e",
        "\ufeff",
        "\uffff",
        "\u0301",
        " ",
        "",
        "\u00d7",
        "ü",
        "日本",
        "😀",
    ),
    *(
        "<br/>",
        "</script>",
        "]]>",
        "&lt;",
        "#35;",
        "%%{init: {}}%%",
        "~x~",
        "---",
        "-->",
        "1. a",
        "- a",
        "# a",
    ),
    *(
        "direction TB",
        "end",
        "PK",
        "fk",
        "uk-a",
        "style x: #a;",
        ":::x",
        "_a_",
        "**a**",
        "click n0",
        "o{",
        "}|",
    ),
]

needs_graphviz = pytest.mark.skipif(
    shutil.which("dot") is None, reason="Graphviz is not installed: no dot on PATH"
)

names = st.one_of(
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60),
)


@st.composite
def drawings(draw: st.DrawFn) -> Diagram:
    """Diagrams of either kind with any names, circles and lines of a box to itself among them."""
    relational = draw(st.booleans())
    count = draw(st.integers(0, 9))
    nodes = []
    for number in range(count):
        shape = draw(
            st.sampled_from(
                [NodeKind.TABLE, NodeKind.ENUM] if relational else [NodeKind.REVISION, NodeKind.ELSEWHERE]
            )
        )
        rows = draw(st.lists(st.builds(Row, names, names, st.just(("PK", "UK1")), st.booleans()), max_size=3))
        marks = (
            () if relational else draw(st.sampled_from([(), ("head",), ("current",), ("head", "current")]))
        )
        lines = tuple(draw(st.lists(names, max_size=2)))
        group = draw(st.sampled_from(["one", "<two>"]))
        nodes.append(
            Node(str(number), group, shape, draw(names), lines, marks, tuple(rows) if relational else ())
        )
    edges = []
    if count:
        ids = st.integers(0, count - 1).map(str)
        links = (
            [EdgeKind.REFERENCES, EdgeKind.USES]
            if relational
            else [EdgeKind.FOLLOWS, EdgeKind.DEPENDS, EdgeKind.REQUIRES]
        )
        for source, target in draw(st.lists(st.tuples(ids, ids), max_size=12)):
            link = draw(st.sampled_from(links))
            ends = (Cardinality.OPTIONAL, Cardinality.MANY) if link is EdgeKind.REFERENCES else None
            edges.append(Edge(source, target, link, draw(names) if relational else "", ends))
    return Diagram(draw(names), ("one", "<two>"), tuple(nodes), tuple(edges))


# A line of each kind as Mermaid's grammars have it; `#59;` and its like stand for characters.
LABEL = r'"(?:[^"%\r\n\v\b\\~:`<>\[\]{}|&;#]|#\d+;|<br/>)+"'
WORD = r"(?!(?i:[PFU]K)(?![A-Za-z0-9_]))[A-Za-z_\u00C0-\U0010FFFF][A-Za-z0-9\-_\[\]()\u00C0-\U0010FFFF]*"
FLOWCHART = [
    r"flowchart TB",
    rf"    subgraph g\d+\[{LABEL}\]",
    rf"        n\d+(?:\[{LABEL}\]|\({LABEL}\)|\(\[{LABEL}\]\))",
    r"    end",
    rf"    n\d+ (?:-->|-\.->\|{LABEL}\|) n\d+",
    r"    classDef (?:head|current|elsewhere) [\w:,#. -]+",
    r"    class n\d+(?:,n\d+)* (?:head|current|elsewhere)",
]
ENTITIES = [
    r"erDiagram",
    rf"    n\d+\[{LABEL}\] \{{",
    rf"        {WORD} {WORD}(?: [PFU]K(?:, [PFU]K)*)?(?: {LABEL})?",
    r"    \}",
    rf"    n\d+ (?:\|\||\|o|\}}o)(?:--|\.\.)(?:\|\||o\||o\{{) n\d+ : {LABEL}",
]


@given(drawings())
@settings(max_examples=40)
def test_every_line_of_mermaid_is_in_its_grammar(drawing: Diagram) -> None:
    begin, title, end, *lines, last = write_diagram(drawing, DiagramFormat.MERMAID).text.split("\n")
    assert (begin, end, last) == ("---", "---", "")
    assert re.fullmatch(r'title: "(?:[^"\\%]|\\["\\u]\w*)*"', title)
    kinds = "|".join(ENTITIES if drawing.is_relational else FLOWCHART)
    for line in lines:
        assert re.fullmatch(kinds, line), line
        # The lexer of erDiagram takes a whole line with these words for a statement.
        assert not re.search(r"direction\s+(?:TB|BT|LR|RL)", line, re.IGNORECASE)


@given(names)
def test_mermaid_shows_what_was_escaped(name: str) -> None:
    escaped = escape(name)
    unescaped = re.sub(r"#(\d+);", lambda match: chr(int(match[1])), escaped)
    assert unescaped == (" ".join(printable(name).split()) or " ")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("numeric(10,2)", "numeric(10_2)"),
        ("text[]", "text[]"),
        ("größe", "größe"),
        ("2fa", "_2fa"),
        ("pk", "_pk"),
        ("Fk-x", "_Fk-x"),
        ("pkg", "pkg"),
        ("a b", "a_b"),
        ("", "_"),
    ],
)
def test_words_of_mermaid(text: str, written: str) -> None:
    assert attribute_word(text) == written


@needs_graphviz
def test_svg_by_graphviz_says_every_name() -> None:
    rows = tuple(Row(name, name, ("FK",)) for name in HOSTILE)
    tables = tuple(
        Node(f"t{n}", '"g"', NodeKind.TABLE, name, (name,), rows=rows[n : n + 2])
        for n, name in enumerate(HOSTILE)
    )
    relations = tuple(
        Edge(f"t{n}", f"t{n - 1}", EdgeKind.REFERENCES, name, (Cardinality.ONE, Cardinality.MANY))
        for n, name in enumerate(HOSTILE)
        if n
    )
    revisions = tuple(
        Node(f"r{n}", '"g"', NodeKind.REVISION, name, (name,), ("head", "current")[: n % 3])
        for n, name in enumerate(HOSTILE)
    )
    for drawing in (Diagram("\\N", ('"g"',), tables, relations), Diagram("\\N", ('"g"',), revisions, ())):
        image = ElementTree.fromstring(write_diagram(drawing, DiagramFormat.SVG).text)
        texts = {element.text for element in image.iter(f"{SVG}text")}
        assert {printable(name) for name in HOSTILE if name.strip()} - {t and t.strip() for t in texts} <= {
            # Spaces at the ends are Graphviz's to drop.
            printable(name)
            for name in HOSTILE
            if printable(name) != printable(name).strip()
        }
        assert {"\\N", '"g"'} <= texts


def test_svg_without_graphviz_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="Graphviz") as caught:
        write_diagram(trees(), DiagramFormat.SVG, tmp_path / "a.svg")
    assert caught.value.detail == "No such file or directory"
    assert "install Graphviz" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_graphviz_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho no plugin >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UsageError, match="status 3") as caught:
        write_diagram(trees(), DiagramFormat.SVG)
    assert caught.value.detail == "no plugin"


@given(names)
def test_strings_of_dot_end_where_they_should(name: str) -> None:
    text = write_diagram(Diagram(name, (), (), ()), DiagramFormat.DOT).text
    assert re.search(r'graph \[label="(?:[^"\\\n]|\\\\|\\")*", labelloc="t"', text)


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [("a\nb", "a␊b"), ("\x00\x7f", "␀␡"), ("\u202eabc\ufeff", "�abc�"), ("ü日\u200d", "ü日\u200d")],
)
def test_what_cannot_be_drawn_is_made_visible(text: str, shown_as: str) -> None:
    assert printable(text) == shown_as


def combined_graph() -> CombinedGraph:
    """Two heads, a merge, a branch label, a dependency and requirements between two databases."""
    main = [
        Revision("main", "m1", "First"),
        Revision("main", "m2", "Left", down_revisions=("m1",), labels=("left",)),
        Revision("main", "m3", "Right", down_revisions=("m1",)),
        Revision("main", "m4", "Both", down_revisions=("m2", "m3")),
        Revision(
            "main", "m5", "Apart", down_revisions=("m3",), depends_on=("left",), requires=("credentials@c1",)
        ),
    ]
    credentials = [
        Revision("credentials", "c1", "First", requires=("main@m1",)),
        Revision("credentials", "c2", down_revisions=("c1",)),
    ]
    return CombinedGraph({"main": Graph("main", main), "credentials": Graph("credentials", credentials)})


def trees(*left_out: str) -> Diagram:
    """All of them but some, as `history` lists them."""
    trees_ = combined_graph()
    listed = {
        name: tuple(
            ListedRevision(
                graph[key], ("head",) * (key in graph.heads) + ("current",) * (key in ("m3", "c2"))
            )
            for key in reversed(graph.sorted(graph.revisions))
            if key not in left_out
        )
        for name, graph in trees_.graphs.items()
    }
    return revision_trees(
        trees_, RevisionList("history", {name: item for name, item in listed.items() if item})
    )


def lines(drawing: Diagram) -> set[tuple[str, str, str]]:
    return {(e.source.partition("@")[2], e.target.partition("@")[2], str(e.link)) for e in drawing.edges}


def test_trees_show_every_kind_of_link() -> None:
    assert lines(trees()) == {
        ("m1", "m2", "follows"),
        ("m1", "m3", "follows"),
        ("m2", "m4", "follows"),
        ("m3", "m4", "follows"),
        ("m3", "m5", "follows"),
        ("m2", "m5", "depends on"),
        ("c1", "m5", "requires"),
        ("m1", "c1", "requires"),
        ("c1", "c2", "follows"),
    }


def test_trees_show_marks_messages_and_labels() -> None:
    nodes = {node.title: node for node in trees().nodes}
    assert {title: node.marks for title, node in nodes.items() if node.marks} == {
        "m3": ("current",),
        "m4": ("head",),
        "m5": ("head",),
        "c2": ("head", "current"),
    }
    assert nodes["m2"].lines == ("Left", "branch left")
    assert nodes["c2"].lines == ()


def test_what_a_span_cuts_off_is_shown_faintly_where_it_is_named() -> None:
    drawing = trees("m1", "m2", "c1", "c2")
    shapes = {node.title: node.shape for node in drawing.nodes}
    faint = {title for title, shape in shapes.items() if shape is NodeKind.ELSEWHERE}
    assert faint == {"m1", "m2", "c1"}
    assert drawing.groups == ("main", "credentials")
    assert drawing.title == "Revisions of main"


@pytest.mark.parametrize(
    "output_format",
    [DiagramFormat.MERMAID, DiagramFormat.DOT, pytest.param(DiagramFormat.SVG, marks=needs_graphviz)],
)
def test_heads_current_and_links_are_explained(output_format: DiagramFormat) -> None:
    text = write_diagram(trees(), output_format).text
    for words in ("head", "current", "requires", "depends on"):
        assert words in text


def test_trees_too_large_for_mermaid_are_noted() -> None:
    chain = [Revision("main", "m0")]
    for number in range(1, 2000):
        aside = (f"m{number // 2}",) if number % 10 == 0 else ()
        chain.append(
            Revision("main", f"m{number}", "Text", down_revisions=(f"m{number - 1}",), depends_on=aside)
        )
    graph = Graph("main", chain)
    listing = RevisionList(
        "history", {"main": tuple(ListedRevision(revision) for revision in reversed(chain))}
    )
    drawing = revision_trees(CombinedGraph({"main": graph}), listing)
    assert write_diagram(drawing, DiagramFormat.MERMAID).notes
    assert not write_diagram(drawing, DiagramFormat.DOT).notes


def snapshot(*constraints: str, columns: Iterable[str] = (), **others: str) -> Snapshot:
    """A table `child` with these columns (`!` for NOT NULL) and constraints, which may name `parent`."""
    of = "table public.child"
    objects: dict[ObjectKey, dict[str, str | None]] = {
        ObjectKey("table", "public.parent"): {},
        ObjectKey("table", "public.child"): {},
        ObjectKey("column", "public.parent.id"): {
            "of": "table public.parent",
            "type": "integer",
            "not_null": "yes",
        },
        ObjectKey("constraint", "public.parent.p"): {
            "of": "table public.parent",
            "type": "primary key",
            "definition": "PRIMARY KEY (id)",
        },
    }
    for position, column in enumerate(columns):
        name = column.removesuffix("!")
        objects[ObjectKey("column", f"public.child.{name}")] = {
            "of": of,
            "type": "integer",
            "not_null": "yes" if column.endswith("!") else None,
            "position": str(position),
        }
    for number, definition in enumerate(constraints):
        type_ = definition.partition(" (")[0].lower()
        objects[ObjectKey("constraint", f"public.child.c{number}")] = {
            "of": of,
            "type": type_,
            "definition": definition,
        }
    for number, definition in enumerate(others.values()):
        objects[ObjectKey("index", f"public.i{number}")] = {"of": of, "definition": definition}
    return Snapshot("main", "live", 180000, objects)


FOREIGN = "FOREIGN KEY (a) REFERENCES public.parent(id) ON DELETE CASCADE"
UNIQUE_INDEX = "CREATE UNIQUE INDEX i ON public.child USING btree (a)"


@pytest.mark.parametrize(
    ("given_", "ends"),
    [
        (snapshot(FOREIGN, columns=["a"]), ("zero or one", "zero or more")),
        (snapshot(FOREIGN, columns=["a!"]), ("exactly one", "zero or more")),
        (snapshot(FOREIGN, "UNIQUE (a)", columns=["a"]), ("zero or one", "zero or one")),
        (snapshot(FOREIGN, "UNIQUE NULLS NOT DISTINCT (a)", columns=["a!"]), ("exactly one", "zero or one")),
        (snapshot(FOREIGN, "PRIMARY KEY (a)", columns=["a"]), ("exactly one", "zero or one")),
        (snapshot(FOREIGN, "PRIMARY KEY (a, b)", columns=["a", "b"]), ("exactly one", "zero or more")),
        (snapshot(FOREIGN, "UNIQUE (a, b)", columns=["a", "b"]), ("zero or one", "zero or more")),
        (snapshot(FOREIGN, "UNIQUE (b, a WITHOUT OVERLAPS)", columns=["a"]), ("zero or one", "zero or more")),
        (snapshot(FOREIGN, columns=["a"], index=UNIQUE_INDEX), ("zero or one", "zero or one")),
        (
            snapshot(FOREIGN, columns=["a"], index=f"{UNIQUE_INDEX} WHERE (a > 0)"),
            ("zero or one", "zero or more"),
        ),
        (
            snapshot(
                'FOREIGN KEY ("a, b)", a) REFERENCES public.parent(id, "x)")', columns=['"a, b)"!', "a!"]
            ),
            ("exactly one", "zero or more"),
        ),
        (
            snapshot("FOREIGN KEY (a, b) REFERENCES public.parent(id, x)", columns=["a!", "b"]),
            ("zero or one", "zero or more"),
        ),
    ],
)
def test_cardinality(given_: Snapshot, ends: tuple[str, str]) -> None:
    (edge,) = entity_diagram([given_]).edges
    assert (edge.source, edge.target) == ("main table public.parent", "main table public.child")
    assert edge.ends == ends


def test_keys_of_columns() -> None:
    taken = snapshot(
        "PRIMARY KEY (a)",
        "UNIQUE (b)",
        "UNIQUE (b, c)",
        FOREIGN.replace("(a)", "(c)"),
        columns=["c!", "b", "a"],
    )
    rows = {node.title: node for node in entity_diagram([taken]).nodes}["child"].rows
    assert [(row.name, row.keys, row.not_null) for row in rows] == [
        ("c", ("FK", "UK1"), True),
        ("b", ("UK", "UK1"), False),
        ("a", ("PK",), True),
    ]


def test_enums_partitions_and_foreign_names() -> None:
    odd = quote('od"d.x')
    objects: dict[ObjectKey, dict[str, str | None]] = {
        ObjectKey("table", f"app.{odd}"): {"partition_key": "RANGE (a)"},
        ObjectKey("table", "app.part"): {"partition_of": f"app.{odd}"},
        ObjectKey("column", f"app.{odd}.moods"): {"of": f"table app.{odd}", "type": "app.mood[]"},
        ObjectKey("column", "app.part.moods"): {"of": "table app.part", "type": "app.mood[]"},
        ObjectKey("enum", "app.mood"): {"labels": "sad\nhappy"},
        ObjectKey("view", "app.v"): {"definition": "SELECT 1"},
    }
    drawing = entity_diagram([Snapshot("main", "models", 180000, objects)])
    assert [(node.title, node.lines, [row.name for row in node.rows]) for node in drawing.nodes] == [
        ('app.od"d.x', ("1 partition",), ["moods"]),
        ("app.mood", (), ["sad", "happy"]),
    ]
    assert [(edge.link, edge.label) for edge in drawing.edges] == [(EdgeKind.USES, "moods")]


@pytest.mark.parametrize(
    ("type_", "shorter"),
    [
        ("character varying(255)", "varchar(255)"),
        ("timestamp(3) with time zone[]", "timestamptz(3)[]"),
        ("timestamp without time zone", "timestamp"),
        ("public.mood", "mood"),
        ("numeric(10,2)", "numeric(10,2)"),
    ],
)
def test_types_by_their_shorter_names(type_: str, shorter: str) -> None:
    assert short_type(type_) == shorter


@given(st.lists(names.filter(bool), min_size=1, max_size=2))
@settings(max_examples=50)
def test_identities_are_read_back(parts: list[str]) -> None:
    assert display_name("x." + ".".join(map(quote, parts))) == ".".join(["x", *parts])


@pytest.mark.parametrize(
    ("asked", "file", "output_format"),
    [
        (None, None, DiagramFormat.MERMAID),
        (DiagramFormat.DOT, None, DiagramFormat.DOT),
        (None, "a.mmd", DiagramFormat.MERMAID),
        (None, "a.gv", DiagramFormat.DOT),
        (None, "a.b.svg", DiagramFormat.SVG),
        (DiagramFormat.SVG, "a.txt", DiagramFormat.SVG),
    ],
)
def test_format(asked: DiagramFormat | None, file: str | None, output_format: DiagramFormat) -> None:
    assert resolve_format(asked, Path(file) if file else None) is output_format


def test_a_suffix_that_means_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a\.png"):
        resolve_format(None, Path("a.png"))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.dot"
    file.write_text("before")

    def fail(_file: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(UsageError, match="cannot be written") as caught:
            write_diagram(trees(), DiagramFormat.DOT, file)
    assert caught.value.detail == "No space left on device"
    assert file.read_text() == "before"
    assert write_diagram(trees(), DiagramFormat.DOT, file).file == str(file)
    assert file.read_text(encoding="utf-8") == write_diagram(trees(), DiagramFormat.DOT).text
    assert list(tmp_path.iterdir()) == [file]
