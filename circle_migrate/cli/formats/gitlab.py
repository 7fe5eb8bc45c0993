"""GitLab's Code Quality report: a JSON array.

https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format: fingerprints must be unique,
paths are relative to the repository and have no `./`, and every finding needs a line.
"""

from __future__ import annotations

from typing import Any

from circle_migrate.cli.formats.json import dump
from circle_migrate.cli.formats.sanitize import anchor, line, whole
from circle_migrate.core.findings import Finding, Report, Severity, fingerprints

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}


def write(report: Report) -> str:
    """The findings of the report; an empty array where there are none."""
    pairs = zip(report.findings, fingerprints(report.findings), strict=True)
    return dump([_issue(report, finding, fingerprint) for finding, fingerprint in pairs])


def _issue(report: Report, finding: Finding, fingerprint: str) -> dict[str, Any]:
    return {
        "description": whole(finding),
        "check_name": finding.rule,
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[finding.severity],
        "location": {
            "path": anchor(report, finding),
            "lines": {"begin": line(report, finding)},
        },
    }
