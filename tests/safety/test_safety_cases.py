"""Verdicts against cases whose right answer was measured, all the way from revisions to the judge."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import Project
from tests.safety.safety_cases import SafetyCase, judged, measured, verdict_of, version_of, write
from tests.safety.safety_operations import bench, operations
from tests.servers import Databases, Server, run, start_binaries

pytestmark = pytest.mark.thorough

_EVERYTHING = os.environ.get("CIRCLE_MIGRATE_TEST_ALL_CASES")
"""Set to run every case on the older servers, too."""

_OLDER = (15, 16)
_TELLING = {
    "set-not-null-proved-earlier",
    "pk-using-index-nullable",
    "enum-add-then-use",
}
"""The cases that depend most on what a version of PostgreSQL says and does."""


@pytest.fixture(scope="module")
def databases(server: Server) -> Iterator[Databases]:
    """One pair for all cases, emptied before each."""
    pair = Databases(server)
    run(pair.create())
    yield pair
    run(pair.drop())


def told(case: SafetyCase, databases: Databases, folder: Path) -> str:
    """Our verdict about a case, whose project is made in the current directory."""
    project = Project(folder)
    project.write_settings()
    write(case, project)
    return verdict_of(run(judged(case, databases, run(version_of(databases)))))


@pytest.mark.parametrize("case", measured(), ids=str)
def test_verdict_is_the_measured_one(case: SafetyCase, databases: Databases, project_folder: Path) -> None:
    if case.since > run(version_of(databases)) // 10000:
        pytest.skip(f"its statements are new in PostgreSQL {case.since}")
    assert told(case, databases, project_folder) == case.expect


@pytest.mark.parametrize("major", _OLDER)
def test_verdicts_are_the_same_on_older_servers(
    major: int, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [each for each in measured() if each.since <= major and (_EVERYTHING or each.id in _TELLING)]
    with start_binaries(major) as (_, url):
        databases = Databases(Server("older", url, lambda: None))
        run(databases.create())
        found = {}
        for case in cases:
            folder = project_folder / case.id
            folder.mkdir()
            monkeypatch.chdir(folder)
            found[case.id] = told(case, databases, folder)
    assert found == {each.id: each.expect for each in cases}


def test_operations_are_judged_without_a_live_database(empty_databases: Databases) -> None:
    """Single operations and combinations, on tables that are only said to be large."""
    assert run(operated(empty_databases)) == {}


@pytest.mark.skipif(not _EVERYTHING, reason="set CIRCLE_MIGRATE_TEST_ALL_CASES to run it")
@pytest.mark.parametrize("major", _OLDER)
def test_operations_on_older_servers(major: int) -> None:
    with start_binaries(major) as (_, url):
        databases = Databases(Server("older", url, lambda: None))
        run(databases.create())
        assert run(operated(databases)) == {}


async def operated(databases: Databases) -> dict[str, tuple[str, str]]:
    """The operations whose verdict is another than the right one, with both."""
    schema, sizes, everything = operations()
    wrong = {}
    one, other = databases.urls.values()
    async with bench(one, schema) as rolled_back, bench(other, schema, commits=True) as committed:
        for each in everything:
            made = committed if each.commits else rolled_back
            if each.case.since <= made.version // 10000:
                verdict = verdict_of(made.judged(await made.traced(each.case), sizes))
                if verdict != each.ours:
                    wrong[str(each)] = (verdict, each.ours)
    return wrong
