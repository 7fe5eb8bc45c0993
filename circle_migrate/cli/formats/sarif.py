"""SARIF 2.1.0 for code scanning (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).

GitHub refuses a file if one result has no physical location (github/codeql-action#1738, #2459) or no line
(https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support), so a finding
without a file is located in its tree's folder, line 1.
"""

from typing import Any
from urllib.parse import quote

from circle_migrate import __version__
from circle_migrate.cli.formats.sanitize import anchor_line, anchor_path, full_text
from circle_migrate.core.envelope import dump
from circle_migrate.core.findings import Finding, Report, Rule, fingerprints, known_rules

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_FINGERPRINT = "circleMigrate/v1"


def write(report: Report) -> str:
    """Return a SARIF log of one run, with the rules of its findings."""
    order = list(known_rules())
    rules = sorted(
        {finding.rule_text for finding in report.findings},
        key=lambda rule: (order.index(rule.id) if rule.id in known_rules() else len(order), rule.id),
    )
    run = {
        "tool": {
            "driver": {
                "name": "circle-migrate",
                "version": __version__,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        # Separates the findings of several commands in one commit.
        "automationDetails": {"id": f"circle-migrate/{report.command}/"},
        "invocations": [_invocation(report)],
        "results": [
            _result(report, finding, rules.index(finding.rule_text), fingerprint)
            for finding, fingerprint in zip(report.findings, fingerprints(report.findings), strict=True)
        ],
    }
    return dump({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": _message(rule.title),
        "fullDescription": _message(rule.effect),
        "help": _message(f"{rule.effect}\n\n{rule.remedy}"),
    }


def _invocation(report: Report) -> dict[str, Any]:
    return {
        "executionSuccessful": not any(finding.is_inconclusive for finding in report.findings),
        "exitCode": int(report.exit_code),
        "startTimeUtc": f"{report.started_at:%Y-%m-%dT%H:%M:%SZ}",
        "toolConfigurationNotifications": [
            {"level": "note", "message": _message(f"{check.title}: skipped, {check.skipped}")}
            for check in report.checks
            if check.skipped is not None
        ],
    }


def _result(report: Report, finding: Finding, rule_index: int, fingerprint: str) -> dict[str, Any]:
    return {
        "ruleId": finding.rule,
        "ruleIndex": rule_index,
        "level": str(finding.severity),
        "message": _message(full_text(finding)),
        "locations": [_location(report, finding)],
        "partialFingerprints": {_FINGERPRINT: fingerprint},
    }


def _message(text: str) -> dict[str, str]:
    """Return a message without placeholders, which are single braces (section 3.11.5)."""
    return {"text": text.replace("{", "{{").replace("}", "}}")}


def _location(report: Report, finding: Finding) -> dict[str, Any]:
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(anchor_path(report, finding)), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": anchor_line(report, finding)},
        }
    }
    if finding.database:
        location["logicalLocations"] = _logical(finding, finding.database)
    return location


def _logical(finding: Finding, database: str) -> list[dict[str, Any]]:
    """Return the object or the revision of the finding, otherwise its database."""
    if finding.subject:
        return [{"name": finding.subject, "fullyQualifiedName": f"{database}.{finding.subject}"}]
    if finding.revision:
        qualified = f"{database}@{finding.revision}"
        return [{"name": finding.revision, "fullyQualifiedName": qualified, "kind": "revision"}]
    return [{"name": database, "kind": "database"}]
