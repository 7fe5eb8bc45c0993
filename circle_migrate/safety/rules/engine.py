"""Run every rule on every statement and keep one finding for each cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from circle_migrate.core.errors import ExitCode
from circle_migrate.core.findings import Severity
from circle_migrate.postgres import sql_text
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.application_breakage import check_alterations, check_removed_names
from circle_migrate.safety.rules.constraint_and_type import check_commits, check_new_objects
from circle_migrate.safety.rules.cross_database import check_cross_database
from circle_migrate.safety.rules.data_loss import check_data_loss
from circle_migrate.safety.rules.dropped_guards import check_dropped_guards, check_replication
from circle_migrate.safety.rules.evidence import Evidence
from circle_migrate.safety.rules.failure import check_failures, check_probe_answers
from circle_migrate.safety.rules.lock import check_blockers, check_locks
from circle_migrate.safety.rules.row_writes import check_row_writes
from circle_migrate.safety.rules.safe_alternative import safe_alternative
from circle_migrate.safety.rules.stored_expressions import check_stored_expressions
from circle_migrate.safety.rules.table_work import check_table_work
from circle_migrate.safety.rules.timeline import Timeline

_OF_STATEMENTS = (
    check_table_work,
    check_row_writes,
    check_locks,
    check_data_loss,
    check_dropped_guards,
    check_stored_expressions,
    check_failures,
    check_alterations,
    check_new_objects,
)
_OF_TRANSACTIONS = (check_removed_names, check_replication)
_OF_PLANS = (check_probe_answers, check_blockers, check_commits, check_cross_database)
_OPAQUE = sql_text.matcher(r"(?:DO|CALL|EXECUTE)\b|SELECT\b.*\w\s*\(")


def run_rules(evidence: Evidence) -> tuple[HazardFinding, ...]:
    """Run all rules; return findings in the order of the statements, for each statement the worst first.

    There is one finding for each hazard, statement and object, with the strongest confidence that any rule
    has. Severities: error, the step fails on these rows, loses stored values, breaks statements of the
    running release, or works on a large table while others wait for one; warning, every row of a large table
    is written, something is dropped for good though no value is lost, two large tables are locked together,
    or what decides could not be found out; note, good to know.
    """
    story = Timeline(evidence)
    findings = [*_of_statements(story)]
    notes = ("it was not traced to its end", *evidence.trace.notes)
    for name in evidence.trace.untraced:
        database, _, revision = name.partition("@")
        findings.append(_of_revision("CM060", Severity.WARNING, database, revision, "; ".join(notes)))
    findings += (
        _of_revision(
            "CM045",
            Severity.WARNING,
            revision_issue.database,
            revision_issue.revision,
            revision_issue.why,
            Confidence.TRACED,
        )
        for revision_issue in evidence.trace.round_trip_issues
    )
    findings += (
        _of_revision(
            "CM044", Severity.NOTE, revision_issue.database, revision_issue.revision, revision_issue.why
        )
        for revision_issue in evidence.trace.render_differences
    )
    findings += _opaque(story)
    return tuple(
        _completed(story, hazard_finding) for hazard_finding in sorted(_merged(findings), key=_order)
    )


def _of_statements(story: Timeline) -> Iterator[HazardFinding]:
    for rule in _OF_STATEMENTS:
        for scene in story.scenes:
            yield from rule(story, scene)
    for of_group in _OF_TRANSACTIONS:
        for scenes in story.groups:
            yield from of_group(story, scenes)
    for of_plan in _OF_PLANS:
        yield from of_plan(story)


def _opaque(story: Timeline) -> Iterator[HazardFinding]:
    """Yield a finding for each statement whose text does not show what it does, where nothing was traced."""
    for scene in () if story.evidence.traced else story.scenes:
        if _OPAQUE.match(sql_text.code(scene.statement.sql)):
            yield story.finding(
                scene,
                "CM060",
                Severity.WARNING,
                "statement",
                "no scratch database has run it: it may do anything",
            )


def _of_revision(
    rule: str,
    severity: Severity,
    database: str,
    revision: str,
    why: str,
    confidence: Confidence = Confidence.STATIC,
) -> HazardFinding:
    """Make a finding about a revision as a whole."""
    subject = f"{database}@{revision}"
    return HazardFinding(
        rule, severity, why, ExitCode.REFUSED, database, revision, subject=subject, confidence=confidence
    )


def _merged(findings: Iterable[HazardFinding]) -> Iterator[HazardFinding]:
    """One finding for each cause: the worst, with the strongest confidence."""
    merged: dict[tuple[object, ...], HazardFinding] = {}
    for finding in findings:
        cause = (finding.rule, finding.database, finding.place, finding.subject)
        other = merged.setdefault(cause, finding)
        worst = min(other, finding, key=lambda hazard_finding: hazard_finding.severity.rank)
        merged[cause] = replace(
            worst, confidence=min(other.confidence, finding.confidence, key=list(Confidence).index)
        )
    yield from merged.values()


def _order(finding: HazardFinding) -> tuple[object, ...]:
    unplaced = finding.place is None
    return (unplaced, finding.place or 0, finding.severity.rank, finding.rule, finding.subject)


def _completed(story: Timeline, finding: HazardFinding) -> HazardFinding:
    """Add the texts of the hazard and, where there is some, code for the statement itself."""
    hazard, why, subject = finding.hazard, finding.message, finding.subject or ""
    facts = {
        "statement": sql_text.shortened(finding.statement),
        "lock": finding.lock,
        "work": finding.work,
        "size": finding.size,
        "estimate": finding.estimate,
    }
    alternative = None if finding.place is None else safe_alternative(story.scenes[finding.place], finding)
    finding = replace(finding, code=alternative)
    return replace(
        finding,
        message=f"{finding.database}: {hazard.title}: {why if subject in why else f'{subject}: {why}'}",
        remedy=f"{hazard.remedy}\n\n{finding.fix}".rstrip(),
        detail="\n".join(f"{name}: {text}" for name, text in facts.items() if text) or None,
    )
