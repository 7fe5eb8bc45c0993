"""Markdown of a loss report, for a ticket or a pull request."""

from __future__ import annotations

from circle_migrate.cli.formats.sanitize import escape_markdown, visible
from circle_migrate.safety.losses.describe import describe_loss, report_notes, summary
from circle_migrate.safety.losses.report import Loss, LossReport


def write(report: LossReport) -> str:
    """Return a heading, a table of all losses, and notes."""
    parts = [f"### Losses of the downgrade: {_escape(summary(report))}"]
    if report.losses:
        rows = (_row(loss, report) for loss in report.losses)
        parts.append("\n".join(("| Name | Kind | By | Destroys data | What |", "|-|-|-|-|-|", *rows)))
    notes = [f"- {_escape(remark)}" for remark in report_notes(report)]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def _row(loss: Loss, report: LossReport) -> str:
    cells = (
        f"**{_escape(loss.name)}**" if loss.destroys_data else _escape(loss.name),
        loss.kind,
        _escape(loss.revision),
        "yes" if loss.destroys_data else "no",
        _escape(describe_loss(loss, report.taken_at)),
    )
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    return escape_markdown(visible(text))
