"""Assess a plan before it runs: trace it, collect evidence, run the rules, apply suppressions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from circle_migrate.core.errors import ExitCode, MigrateError, MigrationFailed, Unreachable, UsageError
from circle_migrate.core.events import Event, Notify, ignore_event
from circle_migrate.core.findings import Check, Finding, Severity
from circle_migrate.postgres.deployment import Deployment, revision_folders
from circle_migrate.revision_graph.plan import Plan, Step
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.safety.result import Coverage, HazardFinding, SafetyReport
from circle_migrate.safety.rules.evidence import Mode
from circle_migrate.safety.statistics_and_baseline import Statistics
from circle_migrate.safety.suppressions import SuppressionResult, apply_suppressions, read_annotations
from circle_migrate.safety.trace.record import Trace

COMMAND = "safety-check"
NOT_TRACED = "not-traced"
_TRACE_TITLE = "the pending revisions can be traced"
_UNTRACED = "CM060"
"""The hazard of a revision that could not be traced."""

_DEFAULT_MAJOR = 18
"""The PostgreSQL major version to render for if that of the server is unknown."""


@dataclass(frozen=True, slots=True)
class SafetyOptions:
    """Options of `safety-check`.

    In the mode `ci` no database is queried: `statistics` has the sizes, and the databases are assumed to be
    at the heads of the git revision `base`. The `baseline` suppresses the findings in it, or is written with
    `write_baseline`. With `allow_unknown` a plan that cannot be traced is a warning.
    """

    mode: Mode = Mode.LIVE
    statistics: Path | None = None
    base: str | None = None
    baseline: Path | None = None
    write_baseline: bool = False
    allow_unknown: bool = False
    cascade: bool = False


async def assess(
    deployment: Deployment,
    plan: Plan,
    versions: Mapping[str, int],
    options: SafetyOptions = SafetyOptions(),
    statistics: Statistics | None = None,
    *,
    notify: Notify = ignore_event,
    known: frozenset[str] = frozenset(),
) -> SafetyReport:
    """Assess a plan. `versions` are the servers' version numbers, `known` the fingerprints of a baseline."""
    from circle_migrate.safety.evidence_collector import EvidenceCollector
    from circle_migrate.safety.rules.engine import run_rules

    revisions = [action.revision for action in plan.actions if isinstance(action, Step)]
    started = datetime.now(UTC)
    if not revisions:
        check = Check("trace", _TRACE_TITLE, skipped=Coverage().description)
        return SafetyReport(
            COMMAND, (check,), folders=revision_folders(deployment), profile=str(options.mode)
        )
    annotations = read_annotations(revisions)
    trace, error = await _trace(deployment, plan, versions, notify)
    assumptions = (*annotations.assumptions, *deployment.settings.safety_tables)
    collector = EvidenceCollector(deployment, plan, trace, assumptions)
    if options.mode is Mode.CI:
        evidence = await collector.collect_offline(statistics, traced=error is None)
    else:
        evidence = await collector.collect_live(traced=error is None)
    direction = next(action.direction for action in plan.actions if isinstance(action, Step))
    result = apply_suppressions(
        _with_locations(run_rules(evidence), revisions, trace, options),
        annotations,
        deployment.settings.safety_ignore,
        known,
        direction=direction if error is None else None,
        untraced=frozenset(trace.untraced),
    )
    coverage = Coverage(len(revisions))
    if error is None:
        complete = len(revisions) - len(trace.incomplete)
        coverage = Coverage(len(revisions), complete, len(trace.statements), trace.scratch_major)
    return SafetyReport(
        COMMAND,
        _checks(revisions, result, _not_traced(error, options)),
        folders=revision_folders(deployment),
        started_at=started,
        profile=str(options.mode),
        coverage=coverage,
        notes=(*trace.notes, *collector.notes),
        suppressed=result.suppressed,
    )


async def _trace(
    deployment: Deployment, plan: Plan, versions: Mapping[str, int], notify: Notify
) -> tuple[Trace, MigrateError | None]:
    """Return the trace; if the plan cannot be traced, the statements that Alembic renders and the error."""
    from circle_migrate.safety.trace.offline import compare_rendered, render
    from circle_migrate.safety.trace.run import trace_plan

    def notify_trace(event: Event) -> None:
        """Mark the steps of an event as those of the trace."""
        steps = tuple(f"trace: {step}" for step in event.steps)
        text = f"trace: {event.text}" if event.text and event.number else event.text
        notify(event._replace(text=text, steps=steps))

    majors = [versions[name] // 10000 for name in plan.databases if name in versions]
    major = min(majors, default=None)
    try:
        traced = await trace_plan(deployment, plan, major=major, notify=notify_trace, round_trips=True)
    except (UsageError, MigrationFailed, Unreachable) as error:
        return await render(deployment, plan, major or _DEFAULT_MAJOR), error
    refused = {
        statement.qualified: statement.error.lacked
        for statement in traced.statements
        if statement.error and statement.error.lacked
    }
    traced = replace(
        traced,
        untraced=tuple(dict.fromkeys((*refused, *traced.untraced))),
        notes=tuple(dict.fromkeys((*traced.notes, *refused.values()))),
        render_differences=await compare_rendered(deployment, plan, traced),
    )
    if len(set(majors)) > 1:
        note = f"the servers run PostgreSQL {' and '.join(map(str, sorted(set(majors))))}"
        traced = replace(traced, notes=(*traced.notes, note))
    return traced, None


def _not_traced(error: MigrateError | None, options: SafetyOptions) -> tuple[Finding, ...]:
    """Return a finding for a plan that could not be traced: an error unless `allow_unknown`."""
    if error is None:
        return ()
    severity = Severity.WARNING if options.allow_unknown else Severity.ERROR
    message = f"the plan could not be traced, so that most hazards cannot be found: {error.message}"
    finding = Finding(NOT_TRACED, severity, message, ExitCode.REFUSED, detail=error.detail, remedy=error.hint)
    return (replace(finding, not_checked=True),)


def _with_locations(
    findings: Iterable[HazardFinding], revisions: Sequence[Revision], trace: Trace, options: SafetyOptions
) -> Iterator[HazardFinding]:
    """Yield the findings with a file; an untraced revision is an error, but not after another error."""
    known = {revision.qualified: revision for revision in revisions}
    errors = (statement.error for statement in trace.statements)
    fails = any(error is not None and not error.lacked for error in errors)
    allowed = options.allow_unknown or fails
    for finding in findings:
        revision = known.get(f"{finding.database}@{finding.revision}", revisions[0])
        unknown = finding.rule == _UNTRACED and finding.subject in trace.untraced and not allowed
        severity = Severity.ERROR if unknown else finding.severity
        file, line = (finding.file, finding.line) if finding.file else (revision.path, revision.line)
        yield replace(finding, severity=severity, file=file, line=line)


def _checks(
    revisions: Iterable[Revision], result: SuppressionResult, not_traced: Sequence[Finding]
) -> tuple[Check, ...]:
    """Return checks of the settings if they have findings, of the trace, and of each revision in order."""
    of_revision: dict[str, list[Finding]] = {}
    for finding in result.findings:
        of_revision.setdefault(f"{finding.database}@{finding.revision}", []).append(finding)
    checks = [Check("trace", _TRACE_TITLE, tuple(not_traced))]
    skipped = "not traced, only its text was checked" if not_traced else None
    of_settings = tuple(finding for finding in result.findings if finding.revision is None)
    if of_settings:
        checks.insert(0, Check("safety-ignore", "the setting safety-ignore is valid", of_settings))
    for revision in revisions:
        name = f"{revision.database}-{revision.id}"
        title = f"{revision.qualified} {revision.message}".rstrip()
        findings = sorted(of_revision.get(revision.qualified, []), key=lambda item: item.severity.rank)
        checks.append(Check(name, title, tuple(findings), skipped))
    return tuple(checks)
