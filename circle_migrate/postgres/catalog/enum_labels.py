"""Labels of enumerations in snapshots: one per line, escaped by backslashes."""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"\\(.)")


def labels(field: str | None) -> list[str]:
    """Return the unescaped labels of a snapshot's field."""
    return [label(line) for line in field.split("\n")] if field is not None else []


def label(line: str) -> str:
    r"""Return the unescaped label of a line: `\n` is a line break, two backslashes are one."""
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], line)
