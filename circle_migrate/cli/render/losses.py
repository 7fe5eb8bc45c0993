"""Render a loss report, the most destructive losses first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.cli.render.run import show_plan
from circle_migrate.cli.render.widgets import revisions, table, write_line
from circle_migrate.safety.losses.describe import describe_loss, report_notes, summary

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.safety.losses.report import LossReport


def loss_report(result: LossReport, console: Console) -> None:
    """Write the plan, a row for each loss, the notes and a summary."""
    if not result.plan:
        for name, heads in result.plan.current.items():
            write_line(console, f"{name}: nothing to undo at {revisions(heads)}")
        return
    write_line(console, f"commit: {result.mode}")
    show_plan(result.plan, console)
    for title, losses in (
        ("destroys data", result.destroyed),
        ("makes the downgrade fail", result.rejected),
        ("changes without loss of data", result.harmless),
    ):
        if losses:
            write_line(console, f"{title}:", style="bold")
            rows = [
                (loss.name, loss.kind, loss.revision, describe_loss(loss, result.taken_at)) for loss in losses
            ]
            table(console, ("name", "kind", "by", "what"), [tuple(map(visible, row)) for row in rows])
    for remark in report_notes(result):
        write_line(console, f"note: {visible(remark)}")
    write_line(console, summary(result), style="" if result.destroyed else "green")
