"""Compare verdicts with what statements do to rows and to the running release."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from circle_migrate.safety.rules.engine import run_rules
from circle_migrate.safety.rules.evidence import Limits, Thresholds
from tests.projects import Project
from tests.safety.safety_cases import SafetyCase, evidence, verdict_of, version_of, write
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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_verdict(case: SafetyCase, databases: Databases, project_folder: Path) -> None:
    version = run(version_of(databases))
    if case.since > version // 10000:
        pytest.skip(f"its statements are new in PostgreSQL {case.since}")
    project = Project(project_folder)
    project.write_settings()
    write(case, project)
    found = replace(run(evidence(case, databases, version)), thresholds=Thresholds(Limits(rows=ROWS)))
    findings = run_rules(found)
    assert verdict_of(findings) == case.expect, [(each.rule, each.message) for each in findings]
