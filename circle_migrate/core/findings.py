"""Findings, the checks they come from, and the results that report both.

Every report format is made from these values and from nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from circle_migrate.core.errors import ExitCode, MigrateError
from circle_migrate.core.result import Result, worst
from circle_migrate.core.rules import RULES, Rule

_NOT_CHECKED = frozenset(
    {
        ExitCode.BUG,
        ExitCode.USAGE,
        ExitCode.LOCKED,
        ExitCode.UNREACHABLE,
        ExitCode.HANGUP,
        ExitCode.INTERRUPTED,
        ExitCode.TERMINATED,
    }
)


class Severity(StrEnum):
    """How much a finding matters: only an error decides the exit status."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One reportable thing.

    `rule` is a key of RULES; anything else raises `ValueError`. `subject` names the object of the database
    it is about, where one rule can hold for several (an index, a column). `file` is absolute or relative to
    the current directory, `line` counts from 1. `detail` holds the server's words or other long text.
    `unlooked` says that nothing could be looked at for it, where the status does not.
    """

    rule: str
    severity: Severity
    message: str
    status: ExitCode
    database: str | None = None
    revision: str | None = None
    remedy: str | None = None
    detail: str | None = None
    file: str | None = None
    line: int | None = None
    subject: str | None = None
    not_checked: bool = False

    def __post_init__(self) -> None:
        try:
            _ = self.rule_text
        except KeyError:
            raise ValueError(f"no rule is called {self.rule!r}") from None

    @property
    def rule_text(self) -> Rule:
        """What is known of all findings of its kind."""
        return RULES[self.rule]

    @property
    def remedy_text(self) -> str:
        """What to do: its own remedy, or the one that holds for all of its kind."""
        return self.remedy or self.rule_text.remedy

    @property
    def is_inconclusive(self) -> bool:
        """Whether it says that something could not be looked at, and not that something is wrong with it."""
        return self.not_checked or self.status in _NOT_CHECKED

    @property
    def fingerprint(self) -> str:
        """The same for the same finding in another run, checkout or wording; SHA-256 in hexadecimal.

        Of the file, its name and folder count, so that the place of the checkout does not.
        """
        file = "/".join(PurePath(self.file).parts[-2:]) if self.file else None
        parts = (self.rule, self.database, self.revision, self.subject, file)
        return _digest(*(part or "" for part in parts))

    def to_dict(self) -> dict[str, Any]:
        """The finding as the JSON output shows it."""
        return {
            "rule": self.rule,
            "severity": str(self.severity),
            "exit_code": int(self.status),
            "message": self.message,
            "database": self.database,
            "revision": self.revision,
            "subject": self.subject,
            "detail": self.detail,
            "remedy": self.remedy_text,
            "file": self.file,
            "line": self.line,
            "fingerprint": self.fingerprint,
        }


def from_error(error: MigrateError, severity: Severity = Severity.ERROR) -> Finding:
    """The error as a finding; its state goes into the detail."""
    file, line = _split(error.location)
    return Finding(
        rule=error.code,
        severity=severity,
        message=error.message,
        status=error.status,
        database=error.database,
        remedy=error.hint,
        detail="\n".join(text for text in (error.detail, error.state) if text) or None,
        file=file,
        line=line,
    )


def _split(location: str | None) -> tuple[str | None, int | None]:
    """`file:line` as two."""
    file, colon, line = (location or "").rpartition(":")
    if colon and line.isdecimal():
        return file, int(line)
    return location, None


def fingerprints(findings: Iterable[Finding]) -> list[str]:
    """The fingerprint of each finding, made unique: the second of its kind gets another, always the same."""
    seen: dict[str, int] = {}
    unique = []
    for finding in findings:
        own = finding.fingerprint
        seen[own] = seen.get(own, 0) + 1
        unique.append(own if seen[own] == 1 else _digest(own, str(seen[own])))
    return unique


def _digest(*parts: str) -> str:
    import hashlib

    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Check(NamedTuple):
    """One check that was made, or skipped for a reason.

    `name` is a stable kebab-case word, `title` what people read, `seconds` how long it took, where known.
    """

    name: str
    title: str
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None
    seconds: float | None = None

    @property
    def outcome(self) -> Outcome:
        """The worst of its findings; notes leave it ok."""
        severities = {finding.severity for finding in self.findings}
        if Severity.ERROR in severities:
            return Outcome.FAILED
        if self.skipped is not None:
            return Outcome.SKIPPED
        return Outcome.WARNING if Severity.WARNING in severities else Outcome.OK

    def to_dict(self) -> dict[str, Any]:
        """The check as the JSON output shows it, without its findings."""
        return {
            "name": self.name,
            "title": self.title,
            "outcome": str(self.outcome),
            "skipped": self.skipped,
            "seconds": None if self.seconds is None else round(self.seconds, 4),
        }


def checkout() -> str:
    """The folder that report formats show paths relative to: the repository's, else the current one."""
    here = Path.cwd()
    return str(next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here))


@dataclass(frozen=True, slots=True)
class Report(Result):
    """Base of results that carry checks.

    `folders` has the folder of each database's tree: where findings without a file are shown by formats
    that want a place for each. `root` is what shown paths are relative to.
    """

    checks: tuple[Check, ...]
    folders: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    root: str = field(default_factory=checkout, kw_only=True)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC), kw_only=True)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all checks."""
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def exit_code(self) -> ExitCode:
        """The worst state that a finding of severity error stands for."""
        return worst([finding.status for finding in self.findings if finding.severity is Severity.ERROR])

    def to_dict(self) -> dict[str, Any]:
        """The checks, and the findings of all of them with the name of the check."""
        return {
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "checks": [check.to_dict() for check in self.checks],
            "findings": [
                {"check": check.name, **finding.to_dict()}
                for check in self.checks
                for finding in check.findings
            ],
        }
