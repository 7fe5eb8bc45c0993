"""Compare verdicts with measured ones, from revision files to findings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import Project
from tests.safety.measured_operations import documented, measure_all
from tests.safety.safety_cases import SafetyCase, judged, measured, verdict_of, version_of, write
from tests.safety.safety_operations import ALEMBIC, DOCUMENTED, bench, operations
from tests.servers import Databases, Server, run, start_binaries

pytestmark = pytest.mark.thorough

_EVERYTHING = os.environ.get("CIRCLE_MIGRATE_TEST_ALL_CASES")
"""Set to run every case on the older servers, too."""

_OLDER = (15, 16)
_VERSION_DEPENDENT = {
    "set-not-null-proved-earlier",
    "pk-using-index-nullable",
    "enum-add-then-use",
}
"""Cases that depend on messages or behaviour of a version of PostgreSQL."""


@pytest.fixture(scope="module")
def databases(server: Server) -> Iterator[Databases]:
    """One pair for all cases, emptied before each case."""
    pair = Databases(server)
    run(pair.create())
    yield pair
    run(pair.drop())


def verdict(case: SafetyCase, databases: Databases, folder: Path) -> str:
    """Return the verdict on a case, whose project is written into the current directory."""
    project = Project(folder)
    project.write_settings()
    write(case, project)
    return verdict_of(run(judged(case, databases, run(version_of(databases)))))


@pytest.mark.parametrize("case", measured(), ids=str)
def test_verdict_is_the_measured_one(case: SafetyCase, databases: Databases, project_folder: Path) -> None:
    if case.since > run(version_of(databases)) // 10000:
        pytest.skip(f"its statements are new in PostgreSQL {case.since}")
    assert verdict(case, databases, project_folder) == case.expect


@pytest.mark.parametrize("major", _OLDER)
def test_verdicts_are_the_same_on_older_servers(
    major: int, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [
        case for case in measured() if case.since <= major and (_EVERYTHING or case.id in _VERSION_DEPENDENT)
    ]
    with start_binaries(major) as (_, url):
        databases = Databases(Server("older", url, lambda: None))
        run(databases.create())
        verdicts = {}
        for case in cases:
            folder = project_folder / case.id
            folder.mkdir()
            monkeypatch.chdir(folder)
            verdicts[case.id] = verdict(case, databases, folder)
    assert verdicts == {case.id: case.expect for case in cases}


@pytest.mark.parametrize("file", [ALEMBIC, DOCUMENTED])
def test_operations_are_judged_without_a_live_database(file: str, empty_databases: Databases) -> None:
    """Single operations and combinations, on tables of assumed size."""
    assert run(wrong_verdicts(empty_databases, file)) == {}


def test_documented_operations_do_what_their_label_says(empty_databases: Databases) -> None:
    _, operations = documented()
    expected = {stored["id"]: stored["expect"] for stored in operations}
    assert run(measure_all(empty_databases.urls["main"])) == expected


@pytest.mark.skipif(not _EVERYTHING, reason="set CIRCLE_MIGRATE_TEST_ALL_CASES to run it")
@pytest.mark.parametrize("major", _OLDER)
def test_operations_on_older_servers(major: int) -> None:
    with start_binaries(major) as (_, url):
        databases = Databases(Server("older", url, lambda: None))
        run(databases.create())
        assert run(wrong_verdicts(databases, ALEMBIC)) == {}


async def wrong_verdicts(databases: Databases, file: str) -> dict[str, tuple[str, str]]:
    """Return the operations with a wrong verdict, with it and the expected one."""
    schema, sizes, cases = operations(file)
    wrong = {}
    first, second = databases.urls.values()
    async with bench(first, schema) as rolled_back, bench(second, schema, commits=True) as committed:
        for operation in cases:
            target = committed if operation.commits else rolled_back
            if operation.case.since <= target.version // 10000:
                actual = verdict_of(target.judged(await target.traced(operation.case), sizes))
                if actual != operation.ours:
                    wrong[str(operation)] = (actual, operation.ours)
    return wrong
