"""GitLab's Code Quality report: a JSON array.

Fingerprints must be unique, paths must be relative to the repository without `./`, and every finding needs a
line (https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format).
"""

from typing import Any

from circle_migrate.cli.formats.sanitize import anchor_line, anchor_path, full_text
from circle_migrate.core.envelope import dump
from circle_migrate.core.findings import Finding, Report, Severity, fingerprints

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}


def write(report: Report) -> str:
    """Return the findings of the report as JSON."""
    pairs = zip(report.findings, fingerprints(report.findings), strict=True)
    return dump([_issue(report, finding, fingerprint) for finding, fingerprint in pairs])


def _issue(report: Report, finding: Finding, fingerprint: str) -> dict[str, Any]:
    return {
        "description": full_text(finding),
        "check_name": finding.rule,
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[finding.severity],
        "location": {"path": anchor_path(report, finding), "lines": {"begin": anchor_line(report, finding)}},
    }
