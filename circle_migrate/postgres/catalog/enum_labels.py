"""The labels of enumerations as snapshots write them: one a line, with a backslash before what is special."""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"\\(.)")


def labels(field: str | None) -> list[str]:
    """The labels in a snapshot's field, each as it is."""
    return [label(line) for line in field.split("\n")] if field is not None else []


def label(line: str) -> str:
    r"""The label that a line stands for: `\n` is a line break, two backslashes are one."""
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], line)
