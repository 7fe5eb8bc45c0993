"""Render `safety-check`, the list of hazards, and `stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.report import write_check, write_finding
from circle_migrate.cli.render.widgets import line, relative, table, write_line
from circle_migrate.core.byte_size import format_bytes
from circle_migrate.core.findings import Finding, Severity
from circle_migrate.safety.hazards.hazard import render_hazard
from circle_migrate.safety.result import HazardFinding, SafetyReport

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.safety.result import HazardList
    from circle_migrate.safety.statistics_and_baseline import StatsResult

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_ITEM, _FIELD = 2, 4
_LABEL = 10


def safety_report(result: SafetyReport, console: Console) -> None:
    """Write the checks with their findings, code that avoids dangers, suppressed findings and notes."""
    line(console, 0, (result.coverage.description, ""))
    for check in result.checks:
        write_check(check, console)
        for finding in check.findings:
            write_safety_finding(finding, console)
    dangers: dict[tuple[str, str], HazardFinding] = {}
    for finding in result.hazard_findings:
        if finding.severity is Severity.ERROR and finding.fix:
            dangers.setdefault((finding.rule, finding.fix), finding)
    for danger in dangers.values():
        _fix(danger, console)
    for suppressed in result.suppressed:
        until = f" until {suppressed.until}" if suppressed.until else ""
        source = f"{suppressed.source}: {suppressed.reason}"
        text = f"suppressed{until}: {suppressed.finding.rule} {suppressed.finding.subject} ({source})"
        line(console, 0, (text, "dim"))
    for note in result.notes:
        line(console, 0, (f"note: {note}", "dim"))


def write_safety_finding(finding: Finding, console: Console) -> None:
    """Write a finding, that of a hazard without the code that avoids it."""
    if not isinstance(finding, HazardFinding):
        write_finding(finding, console)
        return
    confidence = f" ({finding.confidence})" if finding.confidence else ""
    head = f"{finding.verdict}{confidence}: {finding.message}"
    line(console, _ITEM, (f"{finding.rule} ", "bold"), (head, _STYLES[finding.severity]))
    work = ", ".join(filter(None, (finding.work, finding.size, finding.estimate))) if finding.work else ""
    for label, text in (
        ("at", f"{relative(finding.file)}:{finding.line or 1}" if finding.file else ""),
        ("statement", " ".join(finding.statement.split())),
        ("locks", finding.lock),
        ("work", work),
        ("size", "" if work else finding.size),
        ("remedy", finding.hazard.remedy),
    ):
        if text:
            line(console, _FIELD, (f"{label:<{_LABEL}}", "dim"), (text, ""))


def _fix(finding: HazardFinding, console: Console) -> None:
    location = f"{relative(finding.file or '')}:{finding.line}"
    source = "for example" if finding.code is None else f"instead of {location}"
    line(console, 0, (f"{finding.rule} ({finding.hazard.title}): write {source}:", "bold"))
    for text in finding.fix.splitlines():
        line(console, _FIELD, (text, ""))


def hazard_list(result: HazardList, console: Console) -> None:
    """Write a line for each hazard, or the explanation of one."""
    if not result.explained:
        rows = [(hazard.id, str(hazard.kind), hazard.title) for hazard in result.hazards]
        table(console, ("id", "class", "title"), rows)
        return
    for hazard in result.hazards:
        console.print(f"{hazard.id}: {hazard.title}\n", markup=False, style="bold")
        console.print(render_hazard(hazard), markup=False)


def stats_result(result: StatsResult, console: Console) -> None:
    """Write a row for each table, the largest first; or the file and how many tables it has."""
    databases = result.statistics.databases
    if result.file is not None:
        counts = ", ".join(f"{name} {len(stats.sizes)}" for name, stats in databases.items())
        write_line(console, f"{result.file}: sizes of tables ({counts}), no data")
        return
    rows = []
    for name, stats in databases.items():
        for size in sorted(stats.sizes.values(), key=lambda size: (-size.bytes, size.relation)):
            count = "unknown" if size.rows is None else f"about {size.rows}" if size.rows else "0"
            rows += [(name, size.relation, count, format_bytes(size.bytes), format_bytes(size.index_bytes))]
    table(console, ("database", "table", "rows", "size", "indexes"), rows)
