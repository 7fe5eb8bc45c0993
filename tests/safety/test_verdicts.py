"""Compare verdicts with what statements do to rows and to the running release."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.engine import run_rules
from circle_migrate.safety.rules.evidence import Limits, Thresholds
from tests.projects import Project
from tests.safety.safety_cases import (
    SafetyCase,
    evidence,
    missing_feature,
    verdict_of,
    version_of,
    write,
)
from tests.safety.verdict_cases import CASES, ROWS
from tests.servers import Databases, Server, run

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def databases(server: Server) -> Iterator[Databases]:
    """One pair for all cases, emptied before each case."""
    pair = Databases(server)
    run(pair.create())
    yield pair
    run(pair.drop())


def judged(case: SafetyCase, databases: Databases, folder: Path) -> tuple[HazardFinding, ...]:
    """Return the findings about a case, whose project is written into the current directory."""
    version = run(version_of(databases))
    if missing := run(missing_feature(case, databases)):
        pytest.skip(missing)
    project = Project(folder)
    project.write_settings()
    write(case, project)
    result = run(evidence(case, databases, version))
    return run_rules(replace(result, thresholds=Thresholds(Limits(rows=ROWS))))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_verdict(case: SafetyCase, databases: Databases, project_folder: Path) -> None:
    findings = judged(case, databases, project_folder)
    assert verdict_of(findings) == case.expect, [(finding.rule, finding.message) for finding in findings]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("DELETE FROM visits", "every row"),
        ("DELETE FROM visits WHERE id > 0", "every row"),
        ("DELETE FROM visits WHERE pages > 100", "a large part of the rows"),
        ("DELETE FROM visits WHERE pages = 5", "a small part of the rows"),
        ("DELETE FROM visits WHERE id IN (SELECT id FROM visits LIMIT 10)", "a batch of rows"),
    ],
)
def test_finding_says_which_part_of_the_rows(
    sql: str, rows: str, databases: Databases, project_folder: Path
) -> None:
    result = judged(replace(CASES[0], migration=("BEGIN", sql, "COMMIT")), databases, project_folder)
    assert [
        finding.message.rpartition("it deletes ")[2].partition(" of public")[0] for finding in result
    ] == [rows]
