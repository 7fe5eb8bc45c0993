"""Comments in formats that other programs read: no text of a server's gets out of its comment."""

from __future__ import annotations

import re
from collections.abc import Iterator

from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.diff.result import DiffResult

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
"""What moves a cursor or turns the direction of writing, unlike tabs and ends of lines."""


def comment(text: str, mark: str) -> str:
    """The text as one line that begins with the mark."""
    return mark + visible(text)


def not_compared(diff: DiffResult, mark: str) -> Iterator[str]:
    """Lines that say which databases were not compared and why, and what was left out of the others."""
    for finding in diff.comparison_errors:
        yield comment(f"not compared: {finding.message}", mark)
    for comparison in diff.comparisons:
        for text in comparison.not_compared:
            yield comment(f"{comparison.database}: not compared: {text}", mark)


def controls_replaced(text: str, mark: str) -> str:
    """Statements that a terminal can show: with U+FFFD for controls, and then a comment that says so."""
    shown = _CONTROL.sub("\ufffd", text)
    return shown if shown == text else f"{mark}not exact: U+FFFD stands for control characters\n{shown}"
