"""`safety-check`: assess what an upgrade or downgrade would do, without changing a live database."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from circle_migrate.core.errors import UsageError
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.core.findings import Finding, Severity
from circle_migrate.migrate.guards import ensure_not_in_doubt, verify_identity
from circle_migrate.migrate.planner import Planner, plan_offline
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction, Plan
from circle_migrate.safety.assess import SafetyOptions, assess
from circle_migrate.safety.result import HazardFinding, SafetyReport
from circle_migrate.safety.rules.evidence import Mode
from circle_migrate.safety.statistics_and_baseline import read_baseline, read_statistics, write_baseline
from circle_migrate.safety.suppressions import OWN_HAZARDS, suppress_by_baseline


async def safety_check(
    deployment: Deployment,
    targets: Sequence[str] = ("head",),
    direction: Direction = Direction.UP,
    options: SafetyOptions | None = None,
    notify: Notify = ignore_event,
) -> SafetyReport:
    """Assess an upgrade or downgrade to the targets; creates no scratch database if nothing is pending.

    Raises `UsageError` for a bad file or for the mode `ci` without a start.
    """
    options = options or SafetyOptions()
    statistics = read_statistics(options.statistics) if options.statistics else None
    known = frozenset[str]()
    if options.baseline and not options.write_baseline:
        known = read_baseline(options.baseline)
    if options.mode is Mode.CI:
        plan = await _plan_without_databases(deployment, targets, direction, options)
        stats = statistics.databases if statistics else {}
        versions = {name: database.server_version_num for name, database in stats.items()}
    else:
        names = deployment.planned_databases(direction)
        states = await deployment.states(names)
        current = verify_identity(deployment, states)
        ensure_not_in_doubt(states)
        plan = Planner(deployment, targets, direction, options.cascade)(current)
        versions = {name: state.server_version_num for name, state in states.items()}
    report = await assess(deployment, plan, versions, options, statistics, notify=notify, known=known)
    if options.baseline and options.write_baseline:
        return _write_baseline(report, options.baseline)
    return report


async def _plan_without_databases(
    deployment: Deployment, targets: Sequence[str], direction: Direction, options: SafetyOptions
) -> Plan:
    if options.base is not None:
        from circle_migrate.commands.checks.git_base import heads_at

        current = await heads_at(deployment, options.base)
        return Planner(deployment, targets, direction, options.cascade)(current)
    if not any(":" in text for text in targets):
        raise UsageError(
            "without a database the pending revisions are unknown",
            hint="give --base origin/main for the revisions of this branch, or a range FROM:TO",
        )
    return plan_offline(deployment, targets, direction)


def _write_baseline(report: SafetyReport, path: Path) -> SafetyReport:
    """Write all findings above notes to the baseline, and return the report without them."""
    above_notes = (finding for finding in report.hazard_findings if finding.severity is not Severity.NOTE)
    suppressed = [finding for finding in above_notes if finding.rule not in OWN_HAZARDS]
    write_baseline(path, suppressed)
    known = {finding.fingerprint for finding in suppressed}

    def is_new(finding: Finding) -> bool:
        return not (isinstance(finding, HazardFinding) and finding.fingerprint in known)

    checks = [check._replace(findings=tuple(filter(is_new, check.findings))) for check in report.checks]
    hidden = (*report.suppressed, *map(suppress_by_baseline, suppressed))
    return replace(report, checks=tuple(checks), suppressed=hidden)
