"""graph on real databases: tables as they are, current revisions, and the diagrams in the documentation."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from circle_migrate.commands.graph.drawing import CURRENT, Diagram, EdgeKind
from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.commands.graph.graph import entities, revision_trees, write_diagram
from circle_migrate.commands.history import history
from circle_migrate.diff.side import Source
from tests.deployments import deployment, environment, execute, invoke
from tests.servers import Databases, run

PAGE = Path(__file__).parents[2] / "docs" / "schema.md"
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))


def relations(drawing: Diagram, table: str) -> dict[tuple[str, str], list[str]]:
    """Those that lead to a table: from where, by which columns, with which cardinality."""
    titles = {node.id: node.title for node in drawing.nodes}
    return {
        (titles[edge.source], edge.label): [str(end) for end in edge.ends or ()]
        for edge in drawing.edges
        if titles[edge.target] == table
    }


def test_live_tables(migrated_databases: Databases) -> None:
    run(
        execute(
            migrated_databases,
            "main",
            "CREATE SCHEMA app",
            "CREATE TYPE app.\"mood|<x>\" AS ENUM ('sad', 'happy')",
            'CREATE TABLE app."a""b ]>" (id bigint PRIMARY KEY, up bigint REFERENCES app."a""b ]>", '
            'moods app."mood|<x>"[], one integer NOT NULL UNIQUE REFERENCES public.users)',
        )
    )
    drawing = run(entities(deployment(migrated_databases, "main"), Source.LIVE))
    assert relations(drawing, "circle_memberships") == {
        ("circles", "circle_id"): ["exactly one", "zero or more"],
        ("users", "user_id"): ["exactly one", "zero or more"],
        ("transfer_requests", "transfer_request_id"): ["zero or one", "zero or one"],
    }
    assert relations(drawing, 'app.a"b ]>') == {
        ('app.a"b ]>', "up"): ["zero or one", "zero or more"],
        ("users", "one"): ["exactly one", "zero or one"],
        ("app.mood|<x>", "moods"): [],
    }
    assert {edge.link for edge in drawing.edges} == {EdgeKind.REFERENCES, EdgeKind.USES}
    assert not any("alembic" in node.title or "circle_migrate" in node.title for node in drawing.nodes)


def test_the_page_with_our_tables_is_up_to_date(migrated_databases: Databases) -> None:
    """`UPDATE_SNAPSHOTS=1` writes it anew."""
    blocks = []
    for name in deployment(migrated_databases).selected:
        live = run(entities(deployment(migrated_databases, name), Source.LIVE))
        text = write_diagram(replace(live, title=f"Tables of {name}"), DiagramFormat.MERMAID).text
        blocks.append(f"## {name}\n\n```mermaid\n{text}```\n")
    before, mark, _ = PAGE.read_text(encoding="utf-8").partition("\n## ")
    page = f"{before}\n" + "\n".join(blocks)
    if UPDATE:
        PAGE.write_text(page, encoding="utf-8")
    assert mark
    assert PAGE.read_text(encoding="utf-8") == page


def test_current_revisions_are_asked_for_only_where_wanted(
    migrated_databases: Databases, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = deployment(migrated_databases)
    assert not any(CURRENT in node.marks for node in revision_trees(on.combined_graph, history(on)).nodes)
    for name, url in environment(migrated_databases).items():
        monkeypatch.setenv(name, url)
    shown = json.loads(invoke(["graph", "--current", "--as", "dot", "--format", "json"]).stdout)
    marked = [node["title"] for node in shown["drawing"]["nodes"] if node["marks"] == ["head", "current"]]
    assert marked == [head for graph in on.graphs.values() for head in graph.heads]
    assert shown["text"].startswith("digraph {")
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["entities", "a:b"], "revisions"),
        (["entities", "--current"], "--current"),
        (["--from", "live"], "graph entities --from live"),
        (["-o", "a.png"], ".mmd, .dot or .svg"),
        (["-o", "missing/a.dot"], "missing/a.dot cannot be written"),
        (["revisions", "nonsense"], "FROM:TO"),
    ],
)
def test_refused_without_a_trace(workdir: Path, arguments: list[str], words: str) -> None:
    answer = invoke(["graph", *arguments])
    assert (answer.status, answer.stdout) == (2, "")
    assert words in answer.stderr
    assert list(workdir.iterdir()) == []


def test_the_suffix_decides_the_form(workdir: Path) -> None:
    for suffix, beginning in ((".mmd", "---\ntitle: "), (".dot", "digraph {")):
        answer = invoke(["graph", "revisions", "b37f:", "-d", "main", "-o", f"trees{suffix}"])
        assert (answer.status, answer.stdout) == (0, f"trees{suffix}\n")
        assert (workdir / f"trees{suffix}").read_text(encoding="utf-8").startswith(beginning)
    assert invoke(["graph", "-d", "main"]).stdout == invoke(["graph", "-d", "main", "--as", "mermaid"]).stdout
