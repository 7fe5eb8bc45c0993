"""JUnit XML: one suite per command, one test case per check, so that names stay when outcomes change.

Held to the schema of windyroad/JUnit-Schema, which wants some attributes that we do not know: `time` is 0
and `hostname` is localhost.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from circle_migrate.cli.formats.sanitize import path, safe, summed_up, whole
from circle_migrate.core.findings import Check, Finding, Outcome, Report, Severity


def write(report: Report) -> str:
    """The report as a `testsuites` document; what is no error stands in `system-out`."""
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", _attributes(report))
    ET.SubElement(suite, "properties")
    for check in report.checks:
        _case(suite, report, check)
    lesser = [finding for finding in report.findings if finding.severity is not Severity.ERROR]
    lines = [summed_up(report), *(f"{finding.severity}: {_text(report, finding)}" for finding in lesser)]
    ET.SubElement(suite, "system-out").text = "\n".join(lines)
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _attributes(report: Report) -> dict[str, str]:
    failed = [_is_prevented(check) for check in report.checks if check.outcome is Outcome.FAILED]
    return {
        "name": report.command,
        "package": "circle-migrate",
        "id": "0",
        "timestamp": f"{report.started_at:%Y-%m-%dT%H:%M:%S}",
        "hostname": "localhost",
        "tests": str(len(report.checks)),
        "failures": str(failed.count(False)),
        "errors": str(failed.count(True)),
        "skipped": str(sum(check.outcome is Outcome.SKIPPED for check in report.checks)),
        "time": _seconds(sum(check.seconds or 0 for check in report.checks)),
    }


def _case(suite: ET.Element, report: Report, check: Check) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        {
            "name": safe(check.title),
            "classname": f"circle-migrate.{report.command}.{check.name}",
            "time": _seconds(check.seconds or 0),
        },
    )
    if check.outcome is Outcome.SKIPPED:
        ET.SubElement(case, "skipped", {"message": safe(check.skipped or "")})
    elif check.outcome is Outcome.FAILED:
        errors = _errors(check)
        tag = "error" if _is_prevented(check) else "failure"
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        shown = ET.SubElement(case, tag, {"message": safe(errors[0].message) + more, "type": errors[0].rule})
        shown.text = "\n\n".join(_text(report, finding) for finding in errors)


def _errors(check: Check) -> list[Finding]:
    return [finding for finding in check.findings if finding.severity is Severity.ERROR]


def _is_prevented(check: Check) -> bool:
    """Whether the check could not be made on all it should have looked at: JUnit's error, not its failure."""
    return any(finding.is_inconclusive for finding in _errors(check))


def _text(report: Report, finding: Finding) -> str:
    file = path(report, finding) or finding.file
    place = f"{safe(file)}:{finding.line or 1}: " if file else ""
    return place + whole(finding)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
