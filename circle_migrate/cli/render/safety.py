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
        for each in check.findings:
            if isinstance(each, HazardFinding):
                hazard(each, console)
            else:
                finding(each, console)
    dangers = [each for each in result.judged if each.severity is Severity.ERROR and each.fix]
    first: dict[tuple[str, str], HazardFinding] = {}
    for each in dangers:
        first.setdefault((each.rule, each.fix), each)
    for each in first.values():
        _fix(each, console)
    for let in result.suppressed:
        until = f" until {let.until}" if let.until else ""
        text = f"let pass{until}: {let.finding.rule} {let.finding.subject} ({let.source}: {let.reason})"
        line(console, 0, (text, "dim"))
    for note in result.notes:
        line(console, 0, (f"note: {note}", "dim"))


def hazard(found: HazardFinding, console: Console) -> None:
    """Write one verdict, without the code that avoids it."""
    confidence = f" ({found.confidence})" if found.confidence else ""
    head = f"{found.verdict}{confidence}: {found.message}"
    line(console, _ITEM, (f"{found.rule} ", "bold"), (head, _STYLES[found.severity]))
    place = f"{relative(found.file)}:{found.line or 1}" if found.file else ""
    work = ", ".join(filter(None, (found.work, found.size, found.estimate))) if found.work else ""
    for label, text in (
        ("at", place),
        ("statement", " ".join(found.statement.split())),
        ("locks", found.lock),
        ("work", work),
        ("size", "" if work else found.size),
        ("remedy", found.hazard.remedy),
    ):
        if text:
            line(console, _FIELD, (f"{label:<{_LABEL}}", "dim"), (text, ""))


def hazard_list(result: HazardList, console: Console) -> None:
    """A line for each hazard, or all that is known of one."""
    if result.explained:
        for each in result.hazards:
            console.print(f"{each.id}: {each.title}\n", markup=False, style="bold")
            console.print(explained(each), markup=False)
        return
    rows = [(each.id, str(each.kind), each.title) for each in result.hazards]
    table(console, ("id", "class", "title"), rows)


def _fix(found: HazardFinding, console: Console) -> None:
    example = ", for example" if found.code is None else f" of {relative(found.file or '')}:{found.line}"
    line(console, 0, (f"{found.rule}: as {found.hazard.title.lower()}, write instead{example}:", "bold"))
    for text in found.fix.splitlines():
        line(console, _FIELD, (text, ""))
