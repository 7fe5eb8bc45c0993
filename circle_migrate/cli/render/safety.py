"""`safety-check` as people read it: what each revision would do, to whom, for how long, and what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.report import finding, heading
from circle_migrate.cli.render.widgets import line, relative, table
from circle_migrate.core.findings import Severity
from circle_migrate.safety.hazard_list import HazardList
from circle_migrate.safety.hazards.markdown import explained
from circle_migrate.safety.result import HazardFinding, SafetyReport

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_ITEM, _FIELD = 2, 4
_LABEL = 10


def safety_report(result: SafetyReport, console: Console) -> None:
    """Write a line for each check, its findings below, and last what was let pass and what is not known."""
    line(console, 0, (result.coverage.description, ""))
    for check in result.checks:
        heading(check, console)
        for hazard_finding in check.findings:
            if isinstance(hazard_finding, HazardFinding):
                hazard(hazard_finding, console)
            else:
                finding(hazard_finding, console)
    dangers = [
        hazard_finding
        for hazard_finding in result.judged
        if hazard_finding.severity is Severity.ERROR and hazard_finding.fix
    ]
    first: dict[tuple[str, str], HazardFinding] = {}
    for hazard_finding in dangers:
        first.setdefault((hazard_finding.rule, hazard_finding.fix), hazard_finding)
    for hazard_finding in first.values():
        _fix(hazard_finding, console)
    for let in result.suppressed:
        until = f" until {let.until}" if let.until else ""
        text = f"let pass{until}: {let.finding.rule} {let.finding.subject} ({let.source}: {let.reason})"
        line(console, 0, (text, "dim"))
    for note in result.notes:
        line(console, 0, (f"note: {note}", "dim"))


def hazard(hazard_finding: HazardFinding, console: Console) -> None:
    """Write one verdict, without the code that avoids it."""
    confidence = f" ({hazard_finding.confidence})" if hazard_finding.confidence else ""
    head = f"{hazard_finding.verdict}{confidence}: {hazard_finding.message}"
    line(console, _ITEM, (f"{hazard_finding.rule} ", "bold"), (head, _STYLES[hazard_finding.severity]))
    place = f"{relative(hazard_finding.file)}:{hazard_finding.line or 1}" if hazard_finding.file else ""
    work = (
        ", ".join(filter(None, (hazard_finding.work, hazard_finding.size, hazard_finding.estimate)))
        if hazard_finding.work
        else ""
    )
    for label, text in (
        ("at", place),
        ("statement", " ".join(hazard_finding.statement.split())),
        ("locks", hazard_finding.lock),
        ("work", work),
        ("size", "" if work else hazard_finding.size),
        ("remedy", hazard_finding.hazard.remedy),
    ):
        if text:
            line(console, _FIELD, (f"{label:<{_LABEL}}", "dim"), (text, ""))


def hazard_list(result: HazardList, console: Console) -> None:
    """A line for each hazard, or all that is known of one."""
    if result.explained:
        for hazard in result.hazards:
            console.print(f"{hazard.id}: {hazard.title}\n", markup=False, style="bold")
            console.print(explained(hazard), markup=False)
        return
    rows = [(hazard.id, str(hazard.kind), hazard.title) for hazard in result.hazards]
    table(console, ("id", "class", "title"), rows)


def _fix(hazard_finding: HazardFinding, console: Console) -> None:
    example = (
        ", for example"
        if hazard_finding.code is None
        else f" of {relative(hazard_finding.file or '')}:{hazard_finding.line}"
    )
    line(
        console,
        0,
        (f"{hazard_finding.rule}: as {hazard_finding.hazard.title.lower()}, write instead{example}:", "bold"),
    )
    for text in hazard_finding.fix.splitlines():
        line(console, _FIELD, (text, ""))
