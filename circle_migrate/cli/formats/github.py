"""GitHub Actions: workflow commands that become annotations, and Markdown for the job summary.

GitHub shows ten annotations of each type per step and drops the others without a word; a job summary of
more than 1 MiB is refused (docs.github.com/actions/reference/workflows-and-actions/workflow-commands).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from circle_migrate.cli.formats.sanitize import path, safe, summed_up, whole
from circle_migrate.core.findings import Check, Finding, Outcome, Report, Severity

ANNOTATIONS_PER_TYPE = 10
SUMMARY_BYTES = 900_000
"""Below 1 MiB with room for what other commands of the same step add."""

_TYPES = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_MARKS = {
    Outcome.OK: ":white_check_mark:",
    Outcome.WARNING: ":warning:",
    Outcome.FAILED: ":x:",
    Outcome.SKIPPED: ":fast_forward:",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~@&!])")
_CUT = "\n\nThe summary ends here: the rest did not fit.\n"


def write(report: Report) -> str:
    """One workflow command per finding, at most ten of a type, and a line of counts."""
    lines = [line for kind in Severity for line in _annotations(report, kind)]
    return "\n".join([*lines, summed_up(report)]) + "\n"


def _annotations(report: Report, kind: Severity) -> Iterator[str]:
    findings = [finding for finding in report.findings if finding.severity is kind]
    fits = len(findings) <= ANNOTATIONS_PER_TYPE
    shown = findings if fits else findings[: ANNOTATIONS_PER_TYPE - 1]
    for finding in shown:
        yield _annotation(report, finding)
    if not fits:
        yield f"::{_TYPES[kind]} title=circle-migrate::{len(findings) - len(shown)} more in the job summary"


def _annotation(report: Report, finding: Finding) -> str:
    file = path(report, finding)
    place = {"file": file, "line": str(finding.line or 1)} if file else {}
    title = finding.rule_text.title + (f" ({finding.database})" if finding.database else "")
    properties = ",".join(f"{key}={_property(value)}" for key, value in {**place, "title": title}.items())
    return f"::{_TYPES[finding.severity]} {properties}::{_data(whole(finding))}"


def _data(text: str) -> str:
    return safe(text).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary(report: Report) -> str:
    """The report as Markdown for the file that GITHUB_STEP_SUMMARY names, of at most SUMMARY_BYTES."""
    rows = [_row(check) for check in report.checks]
    parts = [
        f"### {_markdown(summed_up(report))}",
        "\n".join(["| | Check | |", "|-|-|-|", *rows]),
        *(_item(report, finding) for finding in report.findings),
    ]
    return _cut("\n\n".join(parts) + "\n")


def _row(check: Check) -> str:
    count = len(check.findings)
    words = check.skipped or ("1 finding" if count == 1 else f"{count} findings" if count else "")
    return f"| {_MARKS[check.outcome]} {check.outcome} | {_markdown(check.title)} | {_markdown(words)} |"


def _item(report: Report, finding: Finding) -> str:
    file = path(report, finding) or finding.file
    place = f" at {_markdown(file)}:{finding.line or 1}" if file else ""
    head = f"- **{finding.severity}** {finding.rule}{place}"
    return "\n".join([head, *("  " + _markdown(line) + "  " for line in whole(finding).splitlines() if line)])


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", safe(text)).replace("\n", " ")


def _cut(text: str) -> str:
    """The text up to the last whole line that fits."""
    raw = text.encode()
    if len(raw) <= SUMMARY_BYTES:
        return text
    fitting = raw[: SUMMARY_BYTES - len(_CUT)]
    return fitting[: fitting.rindex(b"\n")].decode() + _CUT
