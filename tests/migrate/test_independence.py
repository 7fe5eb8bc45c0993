"""Scratch databases that are migrated at the same time, and what prevents it."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.config.load import load
from circle_migrate.migrate.independence import are_independent
from circle_migrate.migrate.planner import Planner
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction
from circle_migrate.safety.trace.record import Trace
from circle_migrate.safety.trace.run import trace_plan
from tests.projects import Project
from tests.servers import Server, run

_EMPTY: dict[str, tuple[str, ...]] = {"main": (), "credentials": ()}

_MEETING = """
import os
os.environ["{own}"] = "1"
for _ in range(500):
    if "{other}" in os.environ:
        break
    op.execute("SELECT pg_sleep(0.01)")
else:
    raise RuntimeError("the other database is not migrated at the same time")
op.execute("CREATE TABLE {own} (id int)")
"""
_ROLE = """
op.execute('''DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'the_reader') THEN
        CREATE ROLE the_reader;
    END IF;
END $$''')
op.execute("SELECT pg_sleep(0.2)")
"""


@pytest.fixture
def project(project_folder: Path) -> Project:
    made = Project(project_folder)
    made.write_settings()
    return made


def _traced(server: Server | None = None) -> Trace:
    flags = {"scratch_url": server.admin_url} if server else {}
    deployment = Deployment(load(flags, environ={}))
    plan = Planner(deployment, ["heads"], Direction.UP)(_EMPTY)
    return run(trace_plan(deployment, plan, major=None, round_trips=True))


def test_databases_are_traced_at_the_same_time_and_told_in_the_order_of_the_plan(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for own in ("met_main", "met_credentials"):
        monkeypatch.setenv(own, "")
        monkeypatch.delenv(own)
    for name, other in (("main", "credentials"), ("credentials", "main")):
        first = _MEETING.format(own=f"met_{name}", other=f"met_{other}")
        project.revision(name, f"{name}1", None, first, f'op.execute("DROP TABLE met_{name}")')
        project.revision(name, f"{name}2", f"{name}1", 'op.execute("CREATE TABLE t (id int)")', "pass")
    trace = _traced(server)
    assert trace.untraced == ()
    assert {item.database for item in trace.statements if "met_" in item.sql} == {"main", "credentials"}
    places = [(item.segment, item.qualified) for item in trace.statements if "CREATE" in item.sql]
    assert places == [
        (1, "main@main1"),
        (1, "main@main2"),
        (1, "credentials@credentials1"),
        (1, "credentials@credentials2"),
    ]
    assert set(trace.round_trip_issues) == {"main@main2", "credentials@credentials2"}


def test_the_failure_of_a_database_leaves_the_other_one_traced(project: Project, server: Server) -> None:
    project.revision("main", "m1", None, "raise RuntimeError", "pass")
    project.revision("main", "m2", "m1", 'op.execute("CREATE TABLE t (id int)")', "pass")
    project.revision("credentials", "c1", None, 'op.execute("CREATE TABLE t (id int)")', "pass")
    trace = _traced(server)
    assert trace.untraced == ("main@m1", "main@m2")
    assert [item.qualified for item in trace.statements] == ["credentials@c1"]
    assert list(trace.round_trip_issues) == ["credentials@c1"]


def test_segments_have_the_numbers_of_the_plan(project: Project, server: Server) -> None:
    alone = "transactional = False"
    create = 'op.execute("CREATE TABLE {} (id int)")'
    project.revision("main", "m1", None, create.format("a"), "pass")
    project.revision(
        "main", "m2", "m1", 'op.execute("CREATE INDEX CONCURRENTLY ON a (id)")', "pass", more=alone
    )
    project.revision("credentials", "c1", None, create.format("b"), "pass", more=alone)
    project.revision("credentials", "c2", "c1", create.format("c"), "pass")
    found = [(item.segment, item.qualified) for item in _traced(server).statements]
    assert found == [(1, "main@m1"), (2, "main@m2"), (3, "credentials@c1"), (4, "credentials@c2")]


def test_one_database_at_a_time_changes_what_the_server_shares(project: Project) -> None:
    project.revision("main", "m1", None, _ROLE, "pass")
    project.revision("credentials", "c1", None, _ROLE, "pass")
    trace = _traced()
    assert [item.error for item in trace.statements] == [None] * 4
    assert trace.untraced == ()


def _are_independent() -> bool:
    graph = Deployment(load(environ={})).combined_graph
    return are_independent(
        graph, [f"{name}@{key}" for name, of in graph.graphs.items() for key in of.revisions]
    )


def test_databases_depend_on_each_other_by_requirements_and_folders(project: Project) -> None:
    project.revision("main", "m1", None, "pass", "pass")
    project.revision("credentials", "c1", None, "pass", "pass")
    assert _are_independent()
    project.revision("credentials", "c2", "c1", "pass", "pass", more='requires = ("main@m1",)')
    assert not _are_independent()
    project.revision("credentials", "c2", "c1", "pass", "pass")
    for name in ("main", "credentials"):
        (project.versions(name).parent / "env.py").rename(project.folder / "migrations" / "env.py")
    assert not _are_independent()
