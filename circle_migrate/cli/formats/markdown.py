"""Markdown for a comment on a pull request or a ticket: dangers first, details folded; or losses.

GitHub refuses comments of more than 65,536 characters, GitLab of more than a million.
"""

import re
from collections.abc import Iterator

from circle_migrate.cli.formats import github, sanitize
from circle_migrate.cli.formats.sanitize import inert, markdown, safe
from circle_migrate.cli.write import format_result
from circle_migrate.core.counted import counted
from circle_migrate.core.findings import Finding, Report, Severity
from circle_migrate.migrate.result import PlanResult
from circle_migrate.safety.losses.describe import describe_loss, report_notes, summary
from circle_migrate.safety.losses.report import Loss, LossReport
from circle_migrate.safety.result import HazardFinding, SafetyReport

MAX_CHARACTERS = 60_000
"""Less than GitHub's limit, to leave room for the text of a bot."""

_MARKS = {Severity.ERROR: ":no_entry:", Severity.WARNING: ":warning:", Severity.NOTE: ":information_source:"}
_NOUNS = {Severity.ERROR: "danger", Severity.WARNING: "warning", Severity.NOTE: "note"}
_TRUNCATED = "The comment is truncated."


def write(report: Report | LossReport | PlanResult) -> str:
    """Return the report as one comment; of a command without a result, its error."""
    if isinstance(report, LossReport):
        return _losses(report)
    if type(report) is Report:
        return github.summary(report, MAX_CHARACTERS)
    parts, room = [], MAX_CHARACTERS
    for part in _parts(report):
        room -= len(part) + 2
        if room < 0:
            parts.append(_TRUNCATED)
            break
        parts.append(part)
    return "\n\n".join(parts) + "\n"


def _parts(report: Report | PlanResult) -> Iterator[str]:
    if not isinstance(report, SafetyReport):
        yield f"### circle-migrate {report.command}, exit {report.exit_code}"
        yield "\n".join(_block("text", format_result("table", report)))
        return
    yield f"### {_head(report)}"
    yield markdown(report.coverage.description) + "."
    for finding in report.findings:
        yield _item(report, finding)
    if report.suppressed:
        rows = [
            (item.finding.rule, item.finding.subject or "", item.reason, str(item.until or ""))
            for item in report.suppressed
        ]
        lines = [f"| {' | '.join(map(markdown, row))} |" for row in rows]
        head = ["| Suppressed | Subject | Reason | Until |", "|-|-|-|-|"]
        yield _fold(f"{len(rows)} suppressed", "\n".join([*head, *lines]))
    if report.notes:
        yield _fold("What is not known", "\n".join(f"- {markdown(note)}" for note in report.notes))


def _head(report: SafetyReport) -> str:
    severities = [finding.severity for finding in report.findings]
    counts = {noun: severities.count(severity) for severity, noun in _NOUNS.items()}
    texts = [counted(count, noun) for noun, count in counts.items() if count]
    return f"Migration safety: {', '.join(texts) or 'no findings'}"


def _item(report: SafetyReport, finding: Finding) -> str:
    file = sanitize.relative_path(report, finding)
    location = f" at `{_code(file)}:{finding.line or 1}`" if file else ""
    head = f"{_MARKS[finding.severity]} **{markdown(finding.rule)}**{location}: {markdown(finding.message)}"
    if not isinstance(finding, HazardFinding):
        return f"{head}\n> {markdown(finding.remedy_text)}"
    lines = [head]
    if finding.statement:
        lines += ["", *_block("sql", finding.statement)]
    facts = {"Locks": finding.lock, "Work": finding.work, "Size": finding.size, "Estimate": finding.estimate}
    lines += ["", *(f"- {name}: {markdown(text)}" for name, text in facts.items() if text)]
    code = ["", *_block("python", finding.fix)] if finding.fix else []
    remedy = "\n".join([markdown(finding.hazard.remedy), *code])
    return "\n".join([*lines, "", _fold("What to write instead", remedy)])


def _fold(title: str, text: str) -> str:
    return f"<details><summary>{markdown(title)}</summary>\n\n{text}\n\n</details>"


def _block(language: str, text: str) -> list[str]:
    """Return the text as a code block whose fence is longer than any in the text."""
    code = inert(safe(text)).strip("\n")
    longest = max(map(len, re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", code, fence]


def _code(text: str) -> str:
    return inert(safe(text)).replace("`", "'").replace("\n", " ")


def _losses(report: LossReport) -> str:
    """Return a heading, a table of all losses, and notes."""
    place = f" in {markdown(report.environment)}" if report.environment else ""
    parts = [f"### Losses of the downgrade{place}: {markdown(summary(report))}"]
    if report.losses:
        rows = (_loss(loss, report) for loss in report.losses)
        parts.append("\n".join(("| Name | Kind | By | Destroys data | What |", "|-|-|-|-|-|", *rows)))
    notes = [f"- {markdown(remark)}" for remark in report_notes(report)]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def _loss(loss: Loss, report: LossReport) -> str:
    cells = (
        f"**{markdown(loss.name)}**" if loss.destroys_data else markdown(loss.name),
        loss.kind,
        markdown(loss.revision),
        "yes" if loss.destroys_data else "no",
        markdown(describe_loss(loss, report.taken_at)),
    )
    return f"| {' | '.join(cells)} |"
