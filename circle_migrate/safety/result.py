"""Results of `safety-check`: hazards found, suppressed findings, how much was traced; lists of hazards."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from circle_migrate.core.counted import counted
from circle_migrate.core.errors import UsageError
from circle_migrate.core.findings import Finding, Report, Rule, Severity
from circle_migrate.core.result import Result, json_fields
from circle_migrate.safety.hazards.hazard import HAZARDS, Hazard, HazardClass, render_revisions


class Confidence(StrEnum):
    """The source of a finding, the strongest first: live rows, a trace, the text of the statement."""

    LIVE = "live"
    TRACED = "traced"
    STATIC = "static"


@dataclass(frozen=True, slots=True)
class HazardFinding(Finding):
    """A hazard of a statement, of a revision or of a suppression.

    `rule` is the id of the hazard. `statement_index` is the index in the trace, None for a revision;
    `statement` is the SQL, `relation` the table or view concerned. `lock`, `work`, `size` and `estimate` are
    texts or empty. `code` is the safe alternative of the statement, None to use the hazard's example.
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
        """Code to use instead: the statement's own alternative, else the hazard's example; may be empty."""
        return self.hazard.fix if self.code is None else self.code

    @property
    def hazard(self) -> Hazard:
        """The hazard that was found."""
        return HAZARDS[self.rule]

    @property
    def rule_text(self) -> Rule:
        """The hazard as a rule of reports."""
        return Rule(self.rule, self.hazard.title, self.hazard.effect, self.hazard.remedy)

    @property
    def verdict(self) -> str:
        """The severity; an error is called danger."""
        return "danger" if self.severity is Severity.ERROR else str(self.severity)

    @property
    def fingerprint(self) -> str:
        """A SHA-256 that does not depend on the position of the statement in the revision file."""
        text = " ".join(self.statement.split()).rstrip("; ")
        parts = (self.rule, self.database or "", self.revision or "", self.subject or "", text)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def to_hazard_dict(self) -> dict[str, Any]:
        """Return all fields for the JSON output, which has them in addition to the finding."""
        texts = ("relation", "lock", "work", "size", "estimate")
        return {
            "fingerprint": self.fingerprint,
            "hazard": self.rule,
            "title": self.hazard.title,
            "class": str(self.hazard.kind),
            **json_fields(self, "verdict confidence database revision file line"),
            "statement": self.statement or None,
            "subject": self.subject,
            **{name: getattr(self, name) or None for name in texts},
            "fix": self.fix,
        }


class SuppressionSource(StrEnum):
    """Where a suppression is declared."""

    COMMENT = "comment"
    REVISION = "revision"
    SETTINGS = "settings"
    BASELINE = "baseline"


@dataclass(frozen=True, slots=True)
class SuppressedFinding:
    """A finding that is suppressed: by which source, for what reason, until which day."""

    finding: HazardFinding
    source: SuppressionSource
    reason: str
    until: date | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the suppression for the JSON output."""
        return {
            **json_fields(self.finding, "rule database revision subject verdict"),
            "by": str(self.source),
            "reason": self.reason,
            "until": self.until.isoformat() if self.until else None,
            "fingerprint": self.finding.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many revisions, all and in full, and statements were traced; `major` is None if nothing ran."""

    revisions: int = 0
    traced: int = 0
    statements: int = 0
    major: int | None = None

    @property
    def description(self) -> str:
        """The coverage as one line."""
        if not self.revisions:
            return "no revision is pending"
        if self.major is None:
            return f"none of {counted(self.revisions, 'revision')} was traced"
        in_full = f"{self.traced} of {counted(self.revisions, 'revision')} in full"
        return f"{counted(self.statements, 'statement')} traced on PostgreSQL {self.major}, {in_full}"

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for the JSON output."""
        return {
            "revisions": self.revisions,
            "traced_revisions": self.traced,
            "traced_statements": self.statements,
            "postgresql": self.major,
        }


@dataclass(frozen=True, slots=True)
class SafetyReport(Report):
    """The report about a plan, with a check for each revision; `profile` is the mode, live or ci."""

    profile: str = "live"
    coverage: Coverage = Coverage()
    notes: tuple[str, ...] = ()
    suppressed: tuple[SuppressedFinding, ...] = ()

    @property
    def hazard_findings(self) -> tuple[HazardFinding, ...]:
        """The findings that are hazards."""
        return tuple(finding for finding in self.findings if isinstance(finding, HazardFinding))

    def dangers(self, allowed: Collection[HazardClass] = ()) -> tuple[HazardFinding, ...]:
        """Return the findings of severity error, except hazards of the allowed classes."""
        errors = (finding for finding in self.hazard_findings if finding.severity is Severity.ERROR)
        return tuple(finding for finding in errors if finding.hazard.kind not in allowed)

    def to_dict(self) -> dict[str, Any]:
        """Return checks, findings, hazards in full, coverage, notes and suppressed findings."""
        return Report.to_dict(self) | {
            "profile": self.profile,
            "verdicts": [finding.to_hazard_dict() for finding in self.hazard_findings],
            **json_fields(self, "coverage notes suppressed"),
        }


@dataclass(frozen=True, slots=True)
class HazardList(Result):
    """Hazards, shown with all their texts if `explained`, else one a line."""

    hazards: tuple[Hazard, ...]
    explained: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the hazards for the JSON output."""
        return {"hazards": [_hazard_to_dict(hazard) for hazard in self.hazards]}


def list_hazards(command: str) -> HazardList:
    """Return all hazards."""
    return HazardList(command, tuple(HAZARDS.values()))


def explain_hazard(command: str, key: str) -> HazardList:
    """Return one hazard. Raises `UsageError` for an unknown id."""
    hazard = HAZARDS.get(key.upper())
    if hazard is None:
        hint = "list the hazards: circle-migrate safety-check --list-rules"
        raise UsageError(f"there is no hazard {key}", hint=hint)
    return HazardList(command, (hazard,), explained=True)


def _hazard_to_dict(hazard: Hazard) -> dict[str, Any]:
    return {
        **json_fields(hazard, "id title"),
        "class": str(hazard.kind),
        **json_fields(hazard, "condition effect remedy"),
        "bad": render_revisions(hazard.bad),
        "good": hazard.fix,
    }
