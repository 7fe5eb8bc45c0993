"""JUnit XML: one suite per command, one test case per check, so that names stay when outcomes change.

The schema of windyroad/JUnit-Schema requires attributes that have no value here: `time` is 0 and `hostname`
is localhost.
"""

from xml.etree import ElementTree as ET

from circle_migrate.cli.formats.sanitize import display_path, full_text, inert, safe, summary_line
from circle_migrate.core.findings import Check, Finding, Outcome, Report, Severity


def write(report: Report) -> str:
    """Return a `testsuites` document; findings that are no errors are in `system-out`."""
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", _attributes(report))
    ET.SubElement(suite, "properties")
    for check in report.checks:
        _case(suite, report, check)
    others = [finding for finding in report.findings if finding.severity is not Severity.ERROR]
    lines = [summary_line(report), *(f"{finding.severity}: {_text(report, finding)}" for finding in others)]
    ET.SubElement(suite, "system-out").text = "\n".join(lines)
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return inert(ET.tostring(root, encoding="unicode", xml_declaration=False)) + "\n"


def _attributes(report: Report) -> dict[str, str]:
    inconclusive = [_is_inconclusive(check) for check in report.checks if check.outcome is Outcome.FAILED]
    return {
        "name": report.command,
        "package": "circle-migrate",
        "id": "0",
        "timestamp": f"{report.started_at:%Y-%m-%dT%H:%M:%S}",
        "hostname": "localhost",
        "tests": str(len(report.checks)),
        "failures": str(inconclusive.count(False)),
        "errors": str(inconclusive.count(True)),
        "skipped": str(sum(check.outcome is Outcome.SKIPPED for check in report.checks)),
        "time": f"{sum(check.seconds or 0 for check in report.checks):.3f}",
    }


def _case(suite: ET.Element, report: Report, check: Check) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        {
            "name": safe(check.title),
            "classname": f"circle-migrate.{report.command}.{check.name}",
            "time": f"{check.seconds or 0:.3f}",
        },
    )
    if check.outcome is Outcome.SKIPPED:
        ET.SubElement(case, "skipped", {"message": safe(check.skipped or "")})
    elif check.outcome is Outcome.FAILED:
        errors = _errors(check)
        tag = "error" if _is_inconclusive(check) else "failure"
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        attributes = {"message": safe(errors[0].message) + more, "type": errors[0].rule}
        ET.SubElement(case, tag, attributes).text = "\n\n".join(_text(report, finding) for finding in errors)


def _errors(check: Check) -> list[Finding]:
    return [finding for finding in check.findings if finding.severity is Severity.ERROR]


def _is_inconclusive(check: Check) -> bool:
    """Return whether the check could not be completed, which is an error in JUnit and not a failure."""
    return any(finding.is_inconclusive for finding in _errors(check))


def _text(report: Report, finding: Finding) -> str:
    file = display_path(report, finding)
    location = f"{safe(file)}:{finding.line or 1}: " if file else ""
    return location + full_text(finding)
