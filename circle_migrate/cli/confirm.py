"""Questions before something is changed that cannot be taken back; never asked without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from circle_migrate.core.plan import Plan, Stamp
from circle_migrate.errors import NotConfirmed


def confirm_downgrade(*, yes: bool) -> Callable[[Plan], None]:
    """Show what a downgrade undoes and ask once."""

    def confirm(plan: Plan) -> None:
        lines = [
            f"{action.database}: undo {action.revision.id} {action.revision.message}"
            for action in plan.actions
            if not isinstance(action, Stamp)
        ]
        _ask("This runs the downgrade of:", lines, "Undo these revisions, with the data they hold?", yes=yes)

    return confirm


def confirm_stamp(*, yes: bool) -> Callable[[Plan], None]:
    """Show what a stamp claims and ask once."""

    def confirm(plan: Plan) -> None:
        lines = []
        for action in plan.actions:
            if isinstance(action, Stamp):
                lines.append(f"{action.database}: at {', '.join(action.heads) or 'base'}")
                lines += [f"{action.database}: counts as applied: {r.id} {r.message}" for r in action.claimed]
                lines += [f"{action.database}: counts as undone: {r.id} {r.message}" for r in action.disowned]
        _ask("This claims, without running anything:", lines, "Record that?", yes=yes)

    return confirm


def confirm_reset(folder: str, *, yes: bool) -> None:
    """Ask before a server's data is deleted."""
    _ask("This deletes the embedded server's data:", [folder], "Delete it?", yes=yes)


def _ask(head: str, lines: list[str], question: str, *, yes: bool) -> None:
    sys.stderr.write("\n".join([head, *("  " + line for line in lines)]) + "\n")
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmed(
            "this needs a confirmation, and there is no terminal to ask on",
            state="nothing was changed",
            hint="add --yes if that is what you want",
        )
    if not typer.confirm(question, err=True):
        raise NotConfirmed("not confirmed", state="nothing was changed")
