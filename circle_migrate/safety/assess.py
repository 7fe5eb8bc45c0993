"""Judging a plan before it runs: what each of its statements would do to the databases as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.core.errors import (
    ExitCode,
    MigrateError,
    MigrationFailed,
    SettingsError,
    Unreachable,
)
from circle_migrate.core.events import Event, Notify, discard
from circle_migrate.core.findings import Check, Finding, Severity
from circle_migrate.postgres.deployment import folders
from circle_migrate.revision_graph.plan import Plan, Step
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.safety.result import Coverage, HazardFinding, SafetyReport, worst_first
from circle_migrate.safety.rules.evidence import Mode
from circle_migrate.safety.suppressions import (
    SuppressionResult,
    apply_suppressions,
    read_annotations,
)
from circle_migrate.safety.trace.record import Trace

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.safety.table_statistics import Statistics

COMMAND = "safety-check"
NOT_TRACED = "not-traced"
_TRACED = "what is pending can be traced"
_UNTRACED = "CM060"
"""The hazard that a revision is which could not be traced."""

_NEWEST = 18
"""The PostgreSQL major version that text is read for where nobody knows the server's."""


@dataclass(frozen=True, slots=True)
class SafetyOptions:
    """How a plan is judged.

    In the mode `ci` no database is asked: `statistics` has the sizes. `base` is the git revision whose trees
    the databases are taken to be at. A `baseline` hides what it has, or with `write_baseline` is written.
    With `allow_unknown` what could not be traced is no error.
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
    notify: Notify = discard,
    known: frozenset[str] = frozenset(),
) -> SafetyReport:
    """Judge a plan that was made. `versions` are the servers' version numbers, `known` a baseline."""
    from circle_migrate.safety.evidence import EvidenceCollector
    from circle_migrate.safety.rules.engine import run_rules

    revisions = [action.revision for action in plan.actions if isinstance(action, Step)]
    started = datetime.now(UTC)
    if not revisions:
        check = Check("trace", _TRACED, skipped=Coverage().description)
        return SafetyReport(COMMAND, (check,), folders=folders(deployment), profile=str(options.mode))
    annotations = read_annotations(revisions)
    trace, error = await _traced(deployment, plan, versions, notify)
    assumptions = (*annotations.assumptions, *deployment.settings.safety_tables)
    gathering = EvidenceCollector(deployment, plan, trace, assumptions)
    if options.mode is Mode.CI:
        evidence = await gathering.without_databases(statistics, traced=error is None)
    else:
        evidence = await gathering.live(traced=error is None)
    direction = next(action.direction for action in plan.actions if isinstance(action, Step))
    result = apply_suppressions(
        _located(run_rules(evidence), revisions, trace, options),
        annotations,
        deployment.settings.safety_ignore,
        known,
        direction=direction if error is None else None,
        untraced=frozenset(trace.untraced),
    )
    coverage = _coverage(revisions, trace, traced=error is None)
    return SafetyReport(
        COMMAND,
        _checks(revisions, result, _not_traced(error, options)),
        folders=folders(deployment),
        started_at=started,
        profile=str(options.mode),
        coverage=coverage,
        notes=(*trace.notes, *gathering.notes),
        suppressed=result.suppressed,
    )


async def _traced(
    deployment: Deployment, plan: Plan, versions: Mapping[str, int], notify: Notify
) -> tuple[Trace, MigrateError | None]:
    """The trace; where there can be none, what Alembic renders, and why."""
    from circle_migrate.safety.trace.offline import compare_rendered, render
    from circle_migrate.safety.trace.run import trace

    majors = [versions[name] // 10000 for name in plan.databases if name in versions]
    major = min(majors, default=None)
    try:
        found = await trace(deployment, plan, major=major, notify=_renamed(notify), round_trips=True)
    except (SettingsError, MigrationFailed, Unreachable) as error:
        return await render(deployment, plan, major or _NEWEST), error
    found = replace(found, render_differences=await compare_rendered(deployment, plan, found))
    if len(set(majors)) > 1:
        note = f"the servers are of PostgreSQL {' and '.join(map(str, sorted(set(majors))))}"
        found = replace(found, notes=(*found.notes, note))
    return found, None


def _renamed(notify: Notify) -> Notify:
    """Tells of steps as what they are: tried out elsewhere."""

    def tell(event: Event) -> None:
        steps = tuple(f"trace: {step}" for step in event.steps)
        text = f"trace: {event.text}" if event.text and event.number else event.text
        notify(replace(event, text=text, steps=steps))

    return tell


def _coverage(revisions: Sequence[Revision], trace: Trace, *, traced: bool) -> Coverage:
    if not traced:
        return Coverage(len(revisions))
    failed = {
        f"{statement.database}@{statement.revision}" for statement in trace.statements if statement.error
    }
    missed = failed | set(trace.untraced)
    return Coverage(len(revisions), len(revisions) - len(missed), len(trace.statements), trace.scratch_major)


def _not_traced(error: MigrateError | None, options: SafetyOptions) -> tuple[Finding, ...]:
    """That nothing was traced; an error unless that is allowed."""
    if error is None:
        return ()
    prevented = error.status in (ExitCode.USAGE, ExitCode.UNREACHABLE)
    return (
        Finding(
            NOT_TRACED,
            Severity.WARNING if options.allow_unknown else Severity.ERROR,
            f"the plan could not be traced, so most hazards cannot be found: {error.message}",
            error.status if prevented else ExitCode.REFUSED,
            detail=error.detail,
            remedy=error.hint,
        ),
    )


def _located(
    findings: Iterable[HazardFinding], revisions: Sequence[Revision], trace: Trace, options: SafetyOptions
) -> list[HazardFinding]:
    """Complete the findings with the revision's file where they have none.

    A revision that could not be traced is an error unless that is allowed. What follows a statement that
    fails would have been traced but for that, which is an error already.
    """
    known = {revision.qualified: revision for revision in revisions}
    excused = options.allow_unknown or any(statement.error for statement in trace.statements)
    located = []
    for finding in findings:
        revision = known.get(f"{finding.database}@{finding.revision}", revisions[0])
        unknown = finding.rule == _UNTRACED and finding.subject in trace.untraced and not excused
        located.append(
            replace(
                finding,
                severity=Severity.ERROR if unknown else finding.severity,
                file=finding.file or revision.path,
                line=finding.line if finding.file else revision.line,
            )
        )
    return located


def _checks(
    revisions: Iterable[Revision], result: SuppressionResult, not_traced: Sequence[Finding]
) -> tuple[Check, ...]:
    """One check for the trace, and one for each revision in the order of the plan; first for the settings."""
    of_revision: dict[str, list[Finding]] = {}
    for finding in result.findings:
        of_revision.setdefault(f"{finding.database}@{finding.revision}", []).append(finding)
    checks = [Check("trace", _TRACED, tuple(not_traced))]
    of_settings = tuple(finding for finding in result.findings if finding.revision is None)
    if of_settings:
        checks.insert(0, Check("safety-ignore", "what the settings let pass still holds", of_settings))
    for revision in revisions:
        name = f"{revision.database}-{revision.id}"
        title = f"{revision.qualified} {revision.message}".rstrip()
        checks.append(Check(name, title, worst_first(of_revision.get(revision.qualified, []))))
    return tuple(checks)
