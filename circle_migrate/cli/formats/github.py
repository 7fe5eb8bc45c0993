"""GitHub Actions: workflow commands that become annotations, and Markdown for the job summary.

GitHub shows ten annotations of each type per step and silently drops the others; it refuses a job summary of
more than 1 MiB (https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands).
"""

from collections.abc import Iterator

from circle_migrate.cli.formats import sanitize
from circle_migrate.cli.formats.sanitize import full_text, markdown, safe
from circle_migrate.core.findings import Check, Finding, Outcome, Report, Severity

ANNOTATIONS_PER_TYPE = 10
SUMMARY_BYTES = 900_000
"""Less than 1 MiB, to leave room for other commands of the same step."""

_TYPES = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_MARKS = {
    Outcome.OK: ":white_check_mark:",
    Outcome.WARNING: ":warning:",
    Outcome.FAILED: ":x:",
    Outcome.SKIPPED: ":fast_forward:",
}
_TRUNCATED = "\n\nThe summary is truncated.\n"


def write(report: Report) -> str:
    """Return a workflow command per finding, at most ten of a type, and a line of counts."""
    lines = [line for kind in Severity for line in _annotations(report, kind)]
    return "\n".join([*lines, sanitize.summary_line(report)]) + "\n"


def _annotations(report: Report, kind: Severity) -> Iterator[str]:
    findings = [finding for finding in report.findings if finding.severity is kind]
    fits = len(findings) <= ANNOTATIONS_PER_TYPE
    shown = findings if fits else findings[: ANNOTATIONS_PER_TYPE - 1]
    for finding in shown:
        yield _annotation(report, finding)
    if not fits:
        yield f"::{_TYPES[kind]} title=circle-migrate::{len(findings) - len(shown)} more in the job summary"


def _annotation(report: Report, finding: Finding) -> str:
    file = sanitize.relative_path(report, finding)
    properties = {"file": file, "line": str(finding.line or 1)} if file else {}
    properties["title"] = finding.rule_text.title + (f" ({finding.database})" if finding.database else "")
    escaped = {key: _data(value).replace(":", "%3A").replace(",", "%2C") for key, value in properties.items()}
    text = ",".join(f"{key}={value}" for key, value in escaped.items())
    return f"::{_TYPES[finding.severity]} {text}::{_data(full_text(finding))}"


def _data(text: str) -> str:
    return safe(text).replace("%", "%25").replace("\n", "%0A")


def summary(report: Report, limit: int = SUMMARY_BYTES) -> str:
    """Return the report as Markdown, for the file in GITHUB_STEP_SUMMARY, of at most `limit` bytes."""
    rows = [_row(check) for check in report.checks]
    parts = [
        f"### {markdown(sanitize.summary_line(report))}",
        "\n".join(["| | Check | |", "|-|-|-|", *rows]),
        *(_item(report, finding) for finding in report.findings),
    ]
    return _truncate("\n\n".join(parts) + "\n", limit)


def _row(check: Check) -> str:
    count = len(check.findings)
    note = check.skipped or ("1 finding" if count == 1 else f"{count} findings" if count else "")
    return f"| {_MARKS[check.outcome]} {check.outcome} | {markdown(check.title)} | {markdown(note)} |"


def _item(report: Report, finding: Finding) -> str:
    file = sanitize.display_path(report, finding)
    location = f" at {markdown(file)}:{finding.line or 1}" if file else ""
    head = f"- **{finding.severity}** {finding.rule}{location}"
    lines = full_text(finding).splitlines()
    return "\n".join([head, *(f"  {markdown(line)}  " for line in lines if line)])


def _truncate(text: str, limit: int) -> str:
    """Return the text up to the last line that fits."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    fitting = raw[: limit - len(_TRUNCATED)]
    return fitting[: fitting.rindex(b"\n")].decode() + _TRUNCATED
