"""Safety-check: judge what an upgrade or downgrade would do; nothing of a live database is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.core.errors import (
    UsageError,
)
from circle_migrate.core.events import Notify, discard
from circle_migrate.core.findings import Severity
from circle_migrate.migrate.guards import ensure_not_in_doubt
from circle_migrate.migrate.identity import verify_identity
from circle_migrate.migrate.planner import Planner, plan_offline
from circle_migrate.revision_graph.plan import Direction, Plan
from circle_migrate.safety import baseline
from circle_migrate.safety.assess import SafetyOptions, assess
from circle_migrate.safety.result import HazardFinding, SafetyReport
from circle_migrate.safety.rules.evidence import Mode
from circle_migrate.safety.suppressions import (
    OWN_HAZARDS,
    in_baseline,
)

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment


async def safety_check(
    deployment: Deployment,
    targets: Sequence[str] = ("head",),
    direction: Direction = Direction.UP,
    options: SafetyOptions | None = None,
    notify: Notify = discard,
) -> SafetyReport:
    """Judge what an upgrade or downgrade to the targets would do; nothing of a live database is changed.

    Where nothing is pending no scratch database is made. Raises the errors of planning, `UsageError` for a
    bad file or a `ci` that does not say from where, and `TreeError`.
    """
    from circle_migrate.safety.statistics_file import read

    options = options or SafetyOptions()
    statistics = read(options.statistics) if options.statistics else None
    known = frozenset[str]()
    if options.baseline and not options.write_baseline:
        known = baseline.read(options.baseline)
    if options.mode is Mode.CI:
        plan = await _planned_without(deployment, targets, direction, options)
        versions = (
            {name: database_stats.server_version_num for name, database_stats in statistics.databases.items()}
            if statistics
            else {}
        )
    else:
        names = deployment.reachable_databases(direction)
        states = await deployment.states(names)
        current = verify_identity(deployment, states)
        ensure_not_in_doubt(states)
        plan = Planner(deployment, targets, direction, options.cascade)(current)
        versions = {name: state.server_version_num for name, state in states.items()}
    safety = await assess(deployment, plan, versions, options, statistics, notify=notify, known=known)
    if options.baseline and options.write_baseline:
        return _written(safety, options.baseline)
    return safety


async def _planned_without(
    deployment: Deployment, targets: Sequence[str], direction: Direction, options: SafetyOptions
) -> Plan:
    if options.base is not None:
        from circle_migrate.commands.checks.git_base import heads_at

        current = await heads_at(deployment, options.base)
        return Planner(deployment, targets, direction, options.cascade)(current)
    if not any(":" in text for text in targets):
        raise UsageError(
            "without a database nobody knows which revisions are pending",
            hint="say it: --base origin/main for those of this branch, or a span, FROM:TO",
        )
    return plan_offline(deployment, targets, direction)


def _written(safety: SafetyReport, path: Path) -> SafetyReport:
    """The judgement with everything that is worse than a note written to the baseline, and so let pass."""
    kept = [
        hazard_finding
        for hazard_finding in safety.judged
        if hazard_finding.severity is not Severity.NOTE and hazard_finding.rule not in OWN_HAZARDS
    ]
    baseline.write(path, kept)
    known = {hazard_finding.fingerprint for hazard_finding in kept}
    checks = tuple(
        check._replace(
            findings=tuple(
                finding
                for finding in check.findings
                if not (isinstance(finding, HazardFinding) and finding.fingerprint in known)
            ),
        )
        for check in safety.checks
    )
    hidden = tuple(in_baseline(hazard_finding) for hazard_finding in kept)
    return replace(safety, checks=checks, suppressed=(*safety.suppressed, *hidden))
