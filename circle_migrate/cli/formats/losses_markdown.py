"""Markdown of a loss report, for a ticket or a pull request."""

from __future__ import annotations

import re

from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.safety.losses.describe import how_much, remarks, summary
from circle_migrate.safety.losses.report import Loss, LossReport

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~@&!])")


def write(report: LossReport) -> str:
    """A heading, a table of all losses, and what is to be known about the report."""
    parts = [f"### Losses of the downgrade: {_plain(summary(report))}"]
    if report.losses:
        rows = (_row(loss, report) for loss in report.losses)
        parts.append("\n".join(("| Name | Kind | By | Destroys data | What |", "|-|-|-|-|-|", *rows)))
    notes = [f"- {_plain(remark)}" for remark in remarks(report)]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def _row(loss: Loss, report: LossReport) -> str:
    cells = (
        f"**{_plain(loss.name)}**" if loss.destroys_data else _plain(loss.name),
        loss.kind,
        _plain(loss.revision),
        "yes" if loss.destroys_data else "no",
        _plain(how_much(loss, report.taken_at)),
    )
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", visible(text))
