"""Comments in scripts and patches: no text of a server can end its comment."""

import re
from collections.abc import Iterator

from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.diff.result import DiffResult

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
"""Control and text direction characters, except tabs and line ends."""


def comment(text: str, mark: str) -> str:
    """Return the text as one line that begins with the mark."""
    return mark + visible(text)


def not_compared(diff: DiffResult, mark: str) -> Iterator[str]:
    """Yield a comment for each database, and each part of a database, that was not compared."""
    for finding in diff.comparison_errors:
        yield comment(f"not compared: {finding.message}", mark)
    for comparison in diff.comparisons:
        for text in comparison.not_compared:
            yield comment(f"{comparison.database}: not compared: {text}", mark)


def replace_controls(text: str, mark: str) -> str:
    """Return statements with U+FFFD for control characters, and then with a comment about it."""
    replaced = _CONTROL.sub("\ufffd", text)
    if replaced == text:
        return text
    return f"{mark}not exact: U+FFFD stands for control characters\n{replaced}"
