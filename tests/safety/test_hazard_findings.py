"""Test that each hazard is found in its bad example and not in its good one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from circle_migrate.core.findings import Severity
from circle_migrate.safety.rules.engine import run_rules
from tests.safety.hazard_examples import Case
from tests.safety.hazard_findings import JUDGED, evidence
from tests.servers import Databases, Server, run

pytestmark = pytest.mark.thorough

_EVERYTHING = os.environ.get("CIRCLE_MIGRATE_TEST_ALL_CASES")
"""Set to check all examples; by default those of every fourth hazard, as an example takes 0.3 s."""

_HAZARDS = sorted({case.hazard.id for case in JUDGED})[:: 1 if _EVERYTHING else 4]
_CHOSEN = [case for case in JUDGED if case.hazard.id in _HAZARDS]

_NOTED = {"CM023", "CM024", "CM025", "CM029"}
"""Hazards of rows that an earlier revision of the plan fixes, which are notes."""


@pytest.fixture(scope="module")
def pairs(server: Server) -> Iterator[tuple[Databases, Databases]]:
    """Live and scratch databases for all examples, emptied before each example."""
    pairs = Databases(server), Databases(server)
    for databases in pairs:
        run(databases.create())
    yield pairs
    for databases in pairs:
        run(databases.drop())


@pytest.mark.parametrize("case", _CHOSEN, ids=str)
def test_hazard_is_found_in_bad_example_only(
    case: Case, pairs: tuple[Databases, Databases], tmp_path: Path
) -> None:
    findings = run_rules(run(evidence(case, *pairs, tmp_path)))
    severities = {finding.severity for finding in findings if finding.rule == case.hazard.id}
    if case.name == "bad":
        assert severities
    else:
        assert severities <= ({Severity.NOTE} if case.hazard.id in _NOTED else set())
