"""Checks as people read them: a line for each, its findings below it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from circle_migrate.cli.formats.sanitize import safe
from circle_migrate.cli.render.widgets import relative, write_line
from circle_migrate.core.findings import Check, Finding, Outcome, Report, Severity

if TYPE_CHECKING:
    from rich.console import Console

# Words carry the meaning; symbol and colour repeat it for the eye.
_LOOKS = {
    Outcome.OK: ("✓", "ok", "green"),
    Outcome.WARNING: ("!", "warn", "yellow"),
    Outcome.FAILED: ("✗", "FAIL", "red"),
    Outcome.SKIPPED: ("-", "skipped", "dim"),
}
_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: ""}
_INDENT = " " * 11


def report(result: Report, console: Console) -> None:
    """Write a report that has nothing but its checks."""
    checks(result.checks, console)


def checks(made: Sequence[Check], console: Console) -> None:
    """Write each check as one line, with what was found below it."""
    for check in made:
        heading(check, console)
        for found, following in zip_longest(check.findings, check.findings[1:]):
            finding(
                found, console, advised=following is not None and following.remedy_text == found.remedy_text
            )


def heading(check: Check, console: Console) -> None:
    """Write how a check ended."""
    symbol, word, style = _LOOKS[check.outcome]
    mark = f"{symbol} " if console.is_terminal and not console.options.ascii_only else ""
    reason = f": {check.skipped}" if check.skipped else ""
    write_line(console, f"{mark}{word:<7}  {_indented(check.title + reason)}", style=style)


def finding(finding: Finding, console: Console, *, advised: bool = False) -> None:
    """Write what was found, where, and what to do about it; with `advised` the next one says that."""
    write_line(
        console, f"  {finding.severity}: {_indented(finding.message)}", style=_STYLES[finding.severity]
    )
    place = f"{relative(finding.file)}:{finding.line or 1}" if finding.file else None
    hint = None if advised else finding.remedy_text
    for label, text in (("at", place), ("detail", finding.detail), ("hint", hint)):
        if text:
            write_line(console, f"    {label:<6} {_indented(text)}")


def _indented(text: str) -> str:
    return safe(text).replace("\n", "\n" + _INDENT)
