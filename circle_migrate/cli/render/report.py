"""Render checks: a line for each, its findings below it."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from circle_migrate.cli.formats.sanitize import safe
from circle_migrate.cli.render.widgets import hint_lines, relative, table, write_line
from circle_migrate.core.findings import Check, Finding, Outcome, Report, Severity

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.commands.consistency.result import ConsistencyResult

# The word carries the meaning; symbol and colour repeat it.
_OUTCOMES = {
    Outcome.OK: ("✓", "ok", "green"),
    Outcome.WARNING: ("!", "warn", "yellow"),
    Outcome.FAILED: ("✗", "FAIL", "red"),
    Outcome.SKIPPED: ("-", "skipped", "dim"),
}
_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: ""}
_INDENT = " " * 11


def report(result: Report, console: Console) -> None:
    """Write every check as one line, with its findings below it."""
    for check in result.checks:
        write_check(check, console)
        for finding, following in zip_longest(check.findings, check.findings[1:]):
            repeated = following is not None and following.remedy_text == finding.remedy_text
            write_finding(finding, console, hint=not repeated)


def write_check(check: Check, console: Console) -> None:
    """Write the outcome of a check."""
    symbol, word, style = _OUTCOMES[check.outcome]
    mark = f"{symbol} " if console.is_terminal and not console.options.ascii_only else ""
    reason = f": {check.skipped}" if check.skipped else ""
    write_line(console, f"{mark}{word:<7}  {_indent(check.title + reason)}", style=style)


def write_finding(finding: Finding, console: Console, *, hint: bool = True) -> None:
    """Write the message, location, unbroken, and detail of a finding, and with `hint` its remedy."""
    head = f"  {finding.severity}: {_indent(finding.message)}"
    write_line(console, head, style=_STYLES[finding.severity])
    location = f"{relative(finding.file)}:{finding.line or 1}" if finding.file else None
    for label, text in (("at", location), ("detail", finding.detail)):
        if text:
            write_line(console, f"    {label:<6} {_indent(text)}", wrap=label != "at")
    write_hint(finding.remedy_text if hint else None, console, "    ")


def write_hint(hint: str | None, console: Console, indent: str) -> None:
    """Write a hint, its commands unbroken."""
    for number, text in enumerate(hint_lines(hint or "")):
        label = "hint" if number == 0 else ""
        write_line(console, f"{indent}{label:<6} {safe(text)}", wrap=not text.startswith(" "))


def _indent(text: str) -> str:
    return safe(text).replace("\n", "\n" + _INDENT)


def consistency_result(result: ConsistencyResult, console: Console) -> None:
    """Write every check with its findings, and a row for each side of a relation."""
    report(result, console)
    rows = [
        (relation_result.relation.name, str(keys.column), keys.type, f"{keys.rows:,}", f"{keys.unmatched:,}")
        for relation_result in result.relations
        for keys in relation_result.sides.values()
    ]
    table(console, ("relation", "column", "type", "rows", "orphans"), rows)
