"""Findings, the checks that produce them, and the reports that contain both."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from circle_migrate.core.errors import ExitCode, MigrateError
from circle_migrate.core.result import Result, json_fields, worst_exit_code

_INTERRUPTED = {ExitCode.HANGUP, ExitCode.INTERRUPTED, ExitCode.TERMINATED}
_NOT_CHECKED = {ExitCode.BUG, ExitCode.USAGE, ExitCode.LOCKED, ExitCode.UNREACHABLE, *_INTERRUPTED}


class Rule(NamedTuple):
    """A kind of problem, as a record of `rules.toml` says; that of an error has the error's code as `id`."""

    id: str
    title: str
    effect: str
    remedy: str


@cache
def known_rules() -> Mapping[str, Rule]:
    """Return every rule by its id. Hazards of `safety-check` are not listed there."""
    import tomllib

    table = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))
    return {name: Rule(name, **texts) for name, texts in table.items()}


class Severity(StrEnum):
    """Severity of a finding; only an error affects the exit status."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """Return 0 for the most severe."""
        return list(Severity).index(self)


class Outcome(StrEnum):
    """Outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of a check.

    `rule` is a key of `known_rules`; anything else raises `ValueError`. `subject` names the database object
    (such as an index). `file` is absolute or relative to the current directory, `line` counts from 1.
    `detail` has the server's message or other long text. `not_checked` means that the object could not be
    examined.
    """

    rule: str
    severity: Severity
    message: str
    status: ExitCode = ExitCode.DONE
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
            raise ValueError(f"there is no rule {self.rule}") from None

    @property
    def rule_text(self) -> Rule:
        """The texts of the rule."""
        return known_rules()[self.rule]

    @property
    def remedy_text(self) -> str:
        """The remedy of the finding, or else the one of its rule."""
        return self.remedy or self.rule_text.remedy

    @property
    def is_inconclusive(self) -> bool:
        """Whether the object could not be examined, which does not mean that it is wrong."""
        return self.not_checked or self.status in _NOT_CHECKED

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal, the same in every run, checkout and wording of the message.

        Only the last two parts of the file's path are hashed.
        """
        file = "/".join(PurePath(self.file).parts[-2:]) if self.file else None
        parts = (self.rule, self.database, self.revision, self.subject, file)
        return _digest(*(part or "" for part in parts))

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as in the JSON output."""
        return {
            **json_fields(self, "rule severity"),
            "exit_code": int(self.status),
            **json_fields(self, "message database revision subject detail"),
            "remedy": self.remedy_text,
            **json_fields(self, "file line fingerprint"),
        }


def from_error(error: MigrateError, severity: Severity = Severity.ERROR) -> Finding:
    """Return the error as a finding; the detail includes its state."""
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
    """Split `file:line`."""
    file, colon, line = (location or "").rpartition(":")
    return (file, int(line)) if colon and line.isdecimal() else (location, None)


def fingerprints(findings: Iterable[Finding]) -> list[str]:
    """Return the fingerprint of each finding; repeated ones are hashed with their ordinal number."""
    counts: Counter[str] = Counter()
    unique = []
    for finding in findings:
        digest = finding.fingerprint
        counts[digest] += 1
        unique.append(digest if counts[digest] == 1 else _digest(digest, str(counts[digest])))
    return unique


def _digest(*parts: str) -> str:
    import hashlib

    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Check(NamedTuple):
    """A check that was run, or skipped for the reason in `skipped`.

    `name` is a stable kebab-case identifier, `title` its name for people, `seconds` the duration if known.
    """

    name: str
    title: str
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None
    seconds: float | None = None

    @property
    def outcome(self) -> Outcome:
        """The outcome by the most severe finding; notes do not count."""
        severities = {finding.severity for finding in self.findings}
        if Severity.ERROR in severities:
            return Outcome.FAILED
        if self.skipped is not None:
            return Outcome.SKIPPED
        return Outcome.WARNING if Severity.WARNING in severities else Outcome.OK

    def to_dict(self) -> dict[str, Any]:
        """Return the check as in the JSON output, without its findings."""
        seconds = None if self.seconds is None else round(self.seconds, 4)
        return {**json_fields(self, "name title outcome skipped"), "seconds": seconds}


def repository_root() -> str:
    """Return the root folder of the Git repository, or else the current folder."""
    here = Path.cwd()
    return str(next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here))


@dataclass(frozen=True, slots=True)
class Report(Result):
    """Base of results with checks.

    `folders` has the revisions folder of each database, the location of findings without a file in formats
    that require one. Report formats show paths relative to `root`.
    """

    checks: tuple[Check, ...]
    folders: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    root: str = field(default_factory=repository_root, kw_only=True)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC), kw_only=True)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all checks."""
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def exit_code(self) -> ExitCode:
        """The most severe status of the findings of severity error."""
        return worst_exit_code(
            [finding.status for finding in self.findings if finding.severity is Severity.ERROR]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the checks, and all findings with the name of their check."""
        return {
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "checks": [check.to_dict() for check in self.checks],
            "findings": [
                {"check": check.name, **finding.to_dict()}
                for check in self.checks
                for finding in check.findings
            ],
        }
