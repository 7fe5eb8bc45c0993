"""Run every rule on every statement and keep one finding for each cause."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from circle_migrate.core.errors import ExitCode
from circle_migrate.core.findings import Severity
from circle_migrate.postgres import sql_text
from circle_migrate.safety.hazards.hazard import HazardClass
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules import (
    application_breakage,
    constraint_and_type,
    dropped_guards,
    failure,
    lock,
    refused_statements,
)
from circle_migrate.safety.rules.context import PlanContext
from circle_migrate.safety.rules.data_loss import check_data_loss
from circle_migrate.safety.rules.evidence import Evidence
from circle_migrate.safety.rules.safe_alternative import safe_alternative
from circle_migrate.safety.rules.table_work import check_row_writes, check_table_work

_STATEMENT_RULES = (
    check_table_work,
    check_row_writes,
    lock.check_locks,
    check_data_loss,
    dropped_guards.check_dropped_guards,
    constraint_and_type.check_stored_expressions,
    failure.check_failures,
    application_breakage.check_alterations,
    constraint_and_type.check_new_objects,
    refused_statements.check_roles,
)
_RULES_OF_FAILED_STATEMENTS = (lock.check_locks, failure.check_failures)
_TRANSACTION_RULES = (
    application_breakage.check_removed_names,
    refused_statements.check_refused_statements,
    dropped_guards.check_replication,
)
_PLAN_RULES = (
    failure.check_probe_answers,
    lock.check_blockers,
    constraint_and_type.check_commits,
    application_breakage.check_cross_database,
)
_OPAQUE = sql_text.compile_pattern(r"(?:DO|CALL|EXECUTE)\b|SELECT\b.*\w\s*\(")


def run_rules(evidence: Evidence) -> tuple[HazardFinding, ...]:
    """Run all rules; return findings in the order of the statements, for each statement the worst first.

    There is one finding for each hazard, statement and object, with the strongest confidence that any rule
    has; docs/safety.md has the meaning of the severities.
    """
    plan = PlanContext(evidence)
    trace = evidence.trace
    findings = [*_run_rules(plan)]
    notes = "; ".join(("it was not traced to its end", *trace.notes))
    known = {finding.subject for finding in findings if finding.rule == "CM060"}
    untraced = (name for name in trace.untraced if name not in known)
    findings += (_revision_finding("CM060", Severity.WARNING, name, notes) for name in untraced)
    issues, differences = trace.round_trip_issues.items(), trace.render_differences.items()
    traced = Confidence.TRACED
    findings += (_revision_finding("CM045", Severity.WARNING, name, why, traced) for name, why in issues)
    findings += (_revision_finding("CM044", Severity.NOTE, name, why) for name, why in differences)
    findings += _opaque(plan)
    if evidence.downgrade:  # it follows the release that uses what is dropped
        findings = [
            replace(finding, severity=max(finding.severity, Severity.WARNING, key=lambda item: item.rank))
            if finding.hazard.kind is HazardClass.APP_BREAK
            else finding
            for finding in findings
        ]
    return tuple(_complete(plan, finding) for finding in sorted(_merge(findings), key=_sort_key))


def _run_rules(plan: PlanContext) -> Iterator[HazardFinding]:
    for statement_rule in _STATEMENT_RULES:
        for context in plan.statements:
            if context.statement.error is None or statement_rule in _RULES_OF_FAILED_STATEMENTS:
                yield from statement_rule(context)
    for transaction_rule in _TRANSACTION_RULES:
        for contexts in plan.transactions:
            yield from transaction_rule(contexts)
    for plan_rule in _PLAN_RULES:
        yield from plan_rule(plan)


def _opaque(plan: PlanContext) -> Iterator[HazardFinding]:
    """Yield a finding for each statement whose text does not show what it does, if nothing was traced."""
    for context in () if plan.evidence.traced else plan.statements:
        if _OPAQUE.match(sql_text.without_comments_and_literals(context.statement.sql)):
            reason = "it did not run on a scratch database, so what it does is unknown"
            yield context.finding("CM060", Severity.WARNING, "statement", reason)


def _revision_finding(
    rule: str, severity: Severity, name: str, reason: str, confidence: Confidence = Confidence.STATIC
) -> HazardFinding:
    """Return a finding about a revision, which `name` has as `database@id`."""
    database, _, revision = name.partition("@")
    return HazardFinding(
        rule, severity, reason, ExitCode.REFUSED, database, revision, subject=name, confidence=confidence
    )


def _merge(findings: Iterable[HazardFinding]) -> Iterable[HazardFinding]:
    """Return one finding for each cause: the worst, with the strongest confidence."""
    merged: dict[tuple[object, ...], HazardFinding] = {}
    for finding in findings:
        cause = (finding.rule, finding.database, finding.statement_index, finding.subject)
        known = merged.setdefault(cause, finding)
        worst = min(known, finding, key=lambda candidate: candidate.severity.rank)
        confidence = min(known.confidence, finding.confidence, key=list(Confidence).index)
        merged[cause] = replace(worst, confidence=confidence)
    return merged.values()


def _sort_key(finding: HazardFinding) -> tuple[object, ...]:
    index = finding.statement_index
    return (index is None, index or 0, finding.severity.rank, finding.rule, finding.subject)


def _complete(plan: PlanContext, finding: HazardFinding) -> HazardFinding:
    """Add the hazard's texts and, if there is one, the safe alternative of the statement."""
    reason, subject = finding.message, finding.subject or ""
    if subject not in reason:
        reason = f"{subject}: {reason}"
    index = finding.statement_index
    facts = {"statement": sql_text.one_line(finding.statement)}
    facts |= {name: getattr(finding, name) for name in ("lock", "work", "size", "estimate")}
    code = None if index is None else safe_alternative(plan.statements[index], finding)
    if subject in plan.evidence.trace.untraced:
        code = ""
    finding = replace(finding, code=code)
    return replace(
        finding,
        message=f"{finding.database}: {finding.hazard.title}: {reason}",
        remedy=f"{finding.hazard.remedy}\n\n{finding.fix}".rstrip(),
        detail="\n".join(f"{name}: {text}" for name, text in facts.items() if text) or None,
    )
