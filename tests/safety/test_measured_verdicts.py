"""Compare the verdicts of the verdict cases with measured effects."""

from __future__ import annotations

import pytest

from tests.safety.measured_verdicts import UNMEASURED, measure_verdict
from tests.safety.safety_cases import SafetyCase, missing_feature
from tests.safety.verdict_cases import CASES
from tests.servers import Databases, run

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("case", CASES, ids=str)
def test_verdict_is_measured(case: SafetyCase, empty_databases: Databases) -> None:
    if missing := run(missing_feature(case, empty_databases)):
        pytest.skip(missing)
    measured, reason = run(measure_verdict(empty_databases.urls["main"], case))
    assert (measured == case.expect) is (case.id not in UNMEASURED), (measured, reason)
