"""Verdicts as findings: what a report of any format says of a hazard."""

from __future__ import annotations

from circle_migrate.core.findings import Severity
from circle_migrate.core.safety import Judged
from circle_migrate.core.traces import Trace
from circle_migrate.core.verdicts.record import Level, Verdict
from circle_migrate.core.verdicts.sizing import in_words
from circle_migrate.errors import ExitCode

_SEVERITIES = {Level.DANGER: Severity.ERROR, Level.WARNING: Severity.WARNING, Level.NOTE: Severity.NOTE}
_MINUTE, _HOUR = 60.0, 3600.0


def finding(verdict: Verdict, trace: Trace) -> Judged:
    """A verdict about a statement of the trace as a finding; a danger refuses."""
    record = verdict.record
    about = verdict.why if verdict.subject in verdict.why else f"{verdict.subject}: {verdict.why}"
    size = "" if verdict.size is None else in_words(verdict.size)
    estimate = "" if verdict.estimate is None else lasting(*verdict.estimate)
    sql = verdict.statement if verdict.place is None else trace.statements[verdict.place].sql
    words = {
        "statement": verdict.statement,
        "lock": verdict.lock,
        "work": verdict.work,
        "size": size,
        "estimate": estimate,
    }
    return Judged(
        verdict.hazard,
        _SEVERITIES[verdict.level],
        f"{verdict.database}: {record.title}: {about}",
        ExitCode.REFUSED,
        database=verdict.database,
        revision=verdict.revision,
        remedy=f"{record.remedy}\n\n{verdict.fix}".rstrip(),
        detail="\n".join(f"{name}: {text}" for name, text in words.items() if text) or None,
        file=verdict.file,
        line=verdict.line,
        subject=verdict.subject,
        confidence=str(verdict.confidence),
        statement=sql,
        relation=verdict.relation or "",
        lock=verdict.lock,
        work=verdict.work,
        size=size,
        estimate=estimate,
        code=verdict.code,
    )


def lasting(least: float, most: float) -> str:
    """A range of seconds in words that claim no more than is known."""
    if most < 1:
        return "estimated under a second"
    return f"estimated {_duration(least)} to {_duration(most)}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "under a second"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.0f} h"
