"""What `safety-check` returns: hazards as findings, what was let pass, and how much of the plan was seen."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from circle_migrate.core.findings import Finding, Report, Severity
from circle_migrate.core.rules import Rule
from circle_migrate.safety.hazards.hazard import Hazard, HazardClass
from circle_migrate.safety.hazards.loader import HAZARDS


class Confidence(StrEnum):
    """What a finding rests on, the strongest first: live rows, a run on a scratch database, the text."""

    LIVE = "live"
    TRACED = "traced"
    STATIC = "static"


@dataclass(frozen=True, slots=True)
class HazardFinding(Finding):
    """A hazard of a statement, of a revision that could not be traced, or of a suppression.

    `rule` is the id of a hazard. `place` is the statement's index in the trace, None for a revision as a
    whole; `statement` is its SQL, `relation` the table or view concerned. `lock`, `work`, `size` and
    `estimate` are texts, empty where they play no part. `code` are revisions for this very statement, None
    where there is only the hazard's example.
    """

    confidence: Confidence = Confidence.STATIC
    statement_index: int | None = None
    statement: str = ""
    relation: str = ""
    lock: str = ""
    work: str = ""
    size: str = ""
    estimate: str = ""
    code: str | None = None

    @property
    def fix(self) -> str:
        """Code to paste: for the statement itself, else the hazard's example; empty without either."""
        return self.hazard.fix if self.code is None else self.code

    @property
    def hazard(self) -> Hazard:
        """What is known of all findings of its kind."""
        return HAZARDS[self.rule]

    @property
    def rule_text(self) -> Rule:
        """The hazard as reports show it beside the finding."""
        return Rule(self.rule, self.hazard.title, self.hazard.effect, self.hazard.remedy)

    @property
    def verdict(self) -> str:
        """The severity as the hazard's words have it."""
        return "danger" if self.severity is Severity.ERROR else str(self.severity)

    @property
    def fingerprint(self) -> str:
        """The same for the same finding wherever its statement stands in the revision's file."""
        text = " ".join(self.statement.split()).rstrip("; ")
        parts = (self.rule, self.database or "", self.revision or "", self.subject or "", text)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def in_full(self) -> dict[str, Any]:
        """All that is known, as the JSON output shows it beside the findings."""
        return {
            "fingerprint": self.fingerprint,
            "hazard": self.rule,
            "title": self.hazard.title,
            "class": str(self.hazard.kind),
            "verdict": self.verdict,
            "confidence": str(self.confidence),
            "database": self.database,
            "revision": self.revision,
            "file": self.file,
            "line": self.line,
            "statement": self.statement or None,
            "subject": self.subject,
            "relation": self.relation or None,
            "lock": self.lock or None,
            "work": self.work or None,
            "size": self.size or None,
            "estimate": self.estimate or None,
            "fix": self.fix,
        }


class Source(StrEnum):
    """Where a suppression was written."""

    COMMENT = "comment"
    REVISION = "revision"
    SETTINGS = "settings"
    BASELINE = "baseline"


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A finding that was let pass: where that was decided, why, and until when."""

    finding: HazardFinding
    source: Source
    reason: str
    until: date | None = None

    def to_dict(self) -> dict[str, Any]:
        """The decision as the JSON output shows it."""
        return {
            "rule": self.finding.rule,
            "database": self.finding.database,
            "revision": self.finding.revision,
            "subject": self.finding.subject,
            "verdict": self.finding.verdict,
            "by": str(self.source),
            "reason": self.reason,
            "until": self.until.isoformat() if self.until else None,
            "fingerprint": self.finding.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a plan was seen: its revisions, those of them that ran in full, and their statements.

    `major` is the PostgreSQL version they ran on, None where nothing ran.
    """

    revisions: int = 0
    traced: int = 0
    statements: int = 0
    major: int | None = None

    @property
    def description(self) -> str:
        """One line about it."""
        if not self.revisions:
            return "nothing is pending, and so nothing was judged"
        if self.major is None:
            return f"none of {_counted(self.revisions, 'revision')} was traced"
        statements = _counted(self.statements, "statement")
        return (
            f"{statements} traced on PostgreSQL {self.major}, "
            f"{self.traced} of {_counted(self.revisions, 'revision')} in full"
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures."""
        return {
            "revisions": self.revisions,
            "traced_revisions": self.traced,
            "traced_statements": self.statements,
            "postgresql": self.major,
        }


@dataclass(frozen=True, slots=True)
class SafetyReport(Report):
    """A plan that was judged, a check for each of its revisions; `profile` says where sizes came from."""

    profile: str = "live"
    coverage: Coverage = Coverage()
    notes: tuple[str, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()

    @property
    def judged(self) -> tuple[HazardFinding, ...]:
        """The findings that are hazards of the plan."""
        return tuple(finding for finding in self.findings if isinstance(finding, HazardFinding))

    def dangers(self, allowed: Collection[HazardClass] = ()) -> tuple[HazardFinding, ...]:
        """The dangers of other classes than these."""
        return tuple(
            hazard_finding
            for hazard_finding in self.judged
            if hazard_finding.severity is Severity.ERROR and hazard_finding.hazard.kind not in allowed
        )

    def to_dict(self) -> dict[str, Any]:
        """Checks and findings, the verdicts in full, what was let pass, and what was seen."""
        return Report.to_dict(self) | {
            "profile": self.profile,
            "verdicts": [hazard_finding.in_full() for hazard_finding in self.judged],
            "coverage": self.coverage.to_dict(),
            "notes": list(self.notes),
            "suppressed": [suppressed.to_dict() for suppressed in self.suppressed],
        }


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors before warnings before notes; otherwise in their order."""
    return tuple(sorted(findings, key=lambda finding: finding.severity.rank))


def _counted(count: int, word: str) -> str:
    return f"1 {word}" if count == 1 else f"{count} {word}s"
