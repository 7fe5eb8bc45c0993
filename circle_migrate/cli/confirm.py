"""Questions before something is changed that cannot be taken back; never asked without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import typer

from circle_migrate.backup.manifest import Manifest
from circle_migrate.core.errors import NotConfirmed
from circle_migrate.core.redaction import redact
from circle_migrate.migrate.kept_data.entry import KeptEntry
from circle_migrate.postgres.protection_marker import ProtectionMarker
from circle_migrate.revision_graph.plan import Plan, Stamp
from circle_migrate.safety.losses.report import LossReport


def accept_losses(accepted: Sequence[str], *, yes: bool, keep: bool) -> Callable[[LossReport], None]:
    """Show what a downgrade takes away; every loss has to be named, in `accepted` or by typing.

    Where nothing is lost, or with `keep` nothing for good, it asks once, or not at all with `yes`. A name
    that is no loss is refused: it may be a slip for one that is.
    """

    def accept(report: LossReport) -> None:
        from circle_migrate.cli.console import console
        from circle_migrate.cli.render.dispatch import render

        render(report, console(sys.stderr))
        lost = list(dict.fromkeys(loss.name for loss in report.destroyed))
        strange = [name for name in accepted if name not in lost]
        if strange:
            raise NotConfirmed(
                f"nothing called {', '.join(strange)} would be lost",
                state="nothing was changed",
                hint="give --accept-loss the names of the report, one each; patterns are not taken",
            )
        missing = [name for name in lost if name not in accepted]
        if not missing or keep:
            _agree("Undo these revisions?", yes=yes or bool(accepted))
        elif yes or not sys.stdin.isatty():
            raise NotConfirmed(
                f"this would destroy data: {', '.join(missing)}",
                state="nothing was changed",
                hint="name what may be lost: " + " ".join(f"--accept-loss {name}" for name in missing),
            )
        else:
            _type(" ".join(missing), "to lose that for good")

    return accept


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


def confirm_replace(accepted: Sequence[str]) -> Callable[[Manifest, Mapping[str, str]], None]:
    """Show which databases a restore replaces; each has to be named, in `accepted` or by typing."""

    def confirm(made: Manifest, holding: Mapping[str, str]) -> None:
        lines = [f"{name}: the database {dbname!r} and all it holds" for name, dbname in holding.items()]
        moment = min(dump.snapshot_at for dump in made.dumps)
        head = f"This puts the state of {moment} in the place of:"
        sys.stderr.write(redact("\n".join([head, *("  " + line for line in lines)]) + "\n"))
        missing = [name for name in holding if name not in accepted]
        if not missing:
            return
        if not sys.stdin.isatty():
            raise NotConfirmed(
                "what would be replaced has to be named, and there is no terminal to ask on",
                state="nothing was changed",
                hint=" ".join(f"--accept-loss {name}" for name in missing),
            )
        _type(" ".join(missing), "to replace")

    return confirm


def confirm_drop(*, yes: bool) -> Callable[[Sequence[KeptEntry]], None]:
    """Show what was kept and is to be dropped, and ask once."""

    def confirm(entries: Sequence[KeptEntry]) -> None:
        lines = [f"{entry.id}: {entry.rows:,} rows of {entry.database}.{entry.name}" for entry in entries]
        _ask("This drops for good what was kept:", lines, "Drop it?", yes=yes)

    return confirm


def confirm_unprotect(named: Sequence[str]) -> Callable[[str, ProtectionMarker], None]:
    """Show how a database is protected; its name lifts that, among `named` or typed."""

    def confirm(name: str, marker: ProtectionMarker) -> None:
        sys.stderr.write(redact(f"{name} is protected {marker.description}\n"))
        if name in named:
            return
        if not sys.stdin.isatty():
            raise NotConfirmed(
                f"lifting the protection of {name} needs its name, and there is no terminal to ask on",
                database=name,
                state="nothing was changed",
                hint=f"--override-protection {name}",
            )
        _type(name, "to lift its protection")

    return confirm


def confirm_reset(folder: str, *, yes: bool) -> None:
    """Ask before a server's data is deleted."""
    _ask("This deletes the embedded server's data:", [folder], "Delete it?", yes=yes)


def _ask(head: str, lines: list[str], question: str, *, yes: bool) -> None:
    sys.stderr.write("\n".join([head, *("  " + line for line in lines)]) + "\n")
    _agree(question, yes=yes)


def _agree(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmed(
            "this needs a confirmation, and there is no terminal to ask on",
            state="nothing was changed",
            hint="add --yes if that is what you want",
        )
    with _answering():
        agreed = typer.confirm(question, err=True)
    if not agreed:
        raise NotConfirmed("not confirmed", state="nothing was changed")


def _type(words: str, purpose: str) -> None:
    with _answering():
        typed = typer.prompt(f"Type {words!r} {purpose}", err=True)
    if typed.strip() != words:
        raise NotConfirmed("something else was typed", state="nothing was changed")


@contextmanager
def _answering() -> Iterator[None]:
    """Ctrl-C while a question is open is an interruption like any other, Ctrl-D is no answer."""
    try:
        yield
    except typer.Abort as abort:
        sys.stderr.write("\n")
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise NotConfirmed("not confirmed", state="nothing was changed") from None
