"""Every hazard a plan can bring is found in its bad example and not in its good one."""

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
"""Set to judge every example; else those of every fourth hazard, as each one takes a third of a second."""

_HAZARDS = sorted({case.hazard.id for case in JUDGED})[:: 1 if _EVERYTHING else 4]
_CHOSEN = [case for case in JUDGED if case.hazard.id in _HAZARDS]

_DOUBTS = {"CM023", "CM024", "CM025"}
"""Of rows that an earlier revision of the plan mends, a note says that they are in the way by now."""


@pytest.fixture(scope="module")
def pairs(server: Server) -> Iterator[tuple[Databases, Databases]]:
    """Live and scratch databases for all examples, emptied before each."""
    made = Databases(server), Databases(server)
    for each in made:
        run(each.create())
    yield made
    for each in made:
        run(each.drop())


@pytest.mark.parametrize("case", _CHOSEN, ids=str)
def test_hazard_is_found_where_it_is(case: Case, pairs: tuple[Databases, Databases], tmp_path: Path) -> None:
    found = [each for each in run_rules(run(evidence(case, *pairs, tmp_path))) if each.rule == case.hazard.id]
    if case.name == "bad":
        assert found
    else:
        assert {each.severity for each in found} <= ({Severity.NOTE} if case.hazard.id in _DOUBTS else set())
