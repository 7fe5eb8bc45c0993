"""Markdown for a comment on a pull request: what is dangerous first, everything else folded away.

GitHub refuses comments of more than 65,536 characters, GitLab of a million.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from circle_migrate.cli.formats.sanitize import path, safe, summed_up, whole
from circle_migrate.core.findings import Finding, Report, Severity
from circle_migrate.safety.result import HazardFinding, SafetyReport

MOST_CHARACTERS = 60_000
"""With room for what a bot adds of its own."""

_MARKS = {Severity.ERROR: ":no_entry:", Severity.WARNING: ":warning:", Severity.NOTE: ":information_source:"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~@&!])")
_CUT = "The rest did not fit into a comment."


def write(report: Report) -> str:
    """The report as one comment; of a command that could not begin, why."""
    if not isinstance(report, SafetyReport):
        texts = [line for finding in report.findings for line in _block("text", whole(finding))]
        return "\n".join([f"### {_text(summed_up(report))}", "", *texts]) + "\n"
    parts, room = [], MOST_CHARACTERS
    for part in _parts(report):
        room -= len(part) + 2
        if room < 0:
            parts.append(_CUT)
            break
        parts.append(part)
    return "\n\n".join(parts) + "\n"


def _parts(report: SafetyReport) -> Iterator[str]:
    yield f"### {_head(report)}"
    yield _text(report.coverage.description) + "."
    for finding in report.findings:
        yield _item(report, finding)
    if report.suppressed:
        rows = [
            f"| {_text(suppressed.finding.rule)} | {_text(suppressed.finding.subject or '')} | {_text(suppressed.reason)} "
            f"| {suppressed.until or ''} |"
            for suppressed in report.suppressed
        ]
        head = ["| Let pass | Subject | Reason | Until |", "|-|-|-|-|"]
        yield _folded(f"{len(rows)} let pass", "\n".join([*head, *rows]))
    if report.notes:
        yield _folded("What is not known", "\n".join(f"- {_text(note)}" for note in report.notes))


def _head(report: SafetyReport) -> str:
    counts = {
        severity: sum(finding.severity is severity for finding in report.findings) for severity in Severity
    }
    words = {Severity.ERROR: "danger", Severity.WARNING: "warning", Severity.NOTE: "note"}
    found = [f"{count} {words[severity]}{'s' * (count > 1)}" for severity, count in counts.items() if count]
    return f"Migration safety: {', '.join(found) or 'nothing found'}"


def _item(report: SafetyReport, hazard_finding: Finding) -> str:
    file = path(report, hazard_finding)
    place = f" at `{_code(file)}:{hazard_finding.line or 1}`" if file else ""
    lines = [
        f"{_MARKS[hazard_finding.severity]} **{_text(hazard_finding.rule)}**{place}: {_text(hazard_finding.message)}"
    ]
    if not isinstance(hazard_finding, HazardFinding):
        return "\n".join([*lines, f"> {_text(hazard_finding.remedy_text)}"])
    if hazard_finding.statement:
        lines += ["", *_block("sql", hazard_finding.statement)]
    facts = {
        "Locks": hazard_finding.lock,
        "Work": hazard_finding.work,
        "Size": hazard_finding.size,
        "Estimate": hazard_finding.estimate,
    }
    lines += ["", *(f"- {name}: {_text(text)}" for name, text in facts.items() if text)]
    code = ["", *_block("python", hazard_finding.fix)] if hazard_finding.fix else []
    advice = "\n".join([_text(hazard_finding.hazard.remedy), *code])
    return "\n".join([*lines, "", _folded("What to write instead", advice)])


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{_text(title)}</summary>\n\n{text}\n\n</details>"


def _block(language: str, text: str) -> list[str]:
    """The text as code, in a fence that is longer than any in it."""
    shown = safe(text).strip("\n")
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", shown, fence]


def _text(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", safe(text)).replace("\n", " ")


def _code(text: str) -> str:
    return safe(text).replace("`", "'").replace("\n", " ")
