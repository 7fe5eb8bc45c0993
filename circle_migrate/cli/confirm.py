"""Ask for confirmation before a change that cannot be undone; without a terminal nothing is asked."""

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import typer

from circle_migrate.backup.manifest import Manifest
from circle_migrate.cli.console import console
from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.cli.write import render, write_stderr
from circle_migrate.commands.backup_files import BackupEntry
from circle_migrate.core.counted import counted
from circle_migrate.core.errors import NotConfirmed
from circle_migrate.migrate.changed_schema import Drift
from circle_migrate.migrate.kept_data.registry import KeptEntry
from circle_migrate.postgres.journal_tables import ProtectionMarker
from circle_migrate.revision_graph.plan import Plan, Stamp
from circle_migrate.safety.losses.report import LossReport


def accept_losses(accepted: Sequence[str], report: LossReport, *, yes: bool, keep: bool) -> None:
    """Show the losses of a downgrade and ask for their names.

    Names in `accepted` are not asked for; one that is no loss is refused, as it may be misspelt. If there are
    no losses, or if they are restored later because of `keep`, ask once, or with `yes` never.
    """
    render(replace(report, environment=None), console(sys.stderr))  # stderr has it already
    lost = list(dict.fromkeys(loss.name for loss in report.destroyed))
    unknown = [name for name in accepted if name not in lost]
    if unknown:
        raise NotConfirmed(
            f"the report has no loss named {', '.join(unknown)}",
            hint="repeat --accept-loss with every name of the report; patterns are not supported",
        )
    missing = [name for name in lost if name not in accepted]
    if not missing or keep:
        _ask("Undo these revisions?", yes=yes or bool(accepted))
    else:
        message = f"the downgrade would destroy data: {', '.join(missing)}"
        _ask_for_names(missing, "to lose that for good", "--accept-loss", message, yes=yes)


def confirm_stamp(plan: Plan, *, yes: bool) -> None:
    """Show what a stamp records and ask once."""
    lines = []
    for action in plan.actions:
        if isinstance(action, Stamp):
            lines.append(f"{action.database}: at {', '.join(action.heads) or 'base'}")
            lines += [f"{action.database}: counts as applied: {r.id} {r.message}" for r in action.claimed]
            lines += [f"{action.database}: counts as undone: {r.id} {r.message}" for r in action.disowned]
    _show("The stamp records this without running any revision:", lines)
    _ask("Record it?", yes=yes)


def confirm_replace(accepted: Sequence[str], manifest: Manifest, database_names: Mapping[str, str]) -> None:
    """Show the databases that a restore replaces and ask for names that are not `accepted`."""
    snapshot_at = min(dump.snapshot_at for dump in manifest.dumps)
    _show(
        f"The backup of {snapshot_at} replaces:",
        (f"{name}: the database {dbname} with all its data" for name, dbname in database_names.items()),
    )
    if missing := [name for name in database_names if name not in accepted]:
        message = f"the restore would replace {', '.join(missing)}"
        _ask_for_names(missing, "to replace", "--accept-loss", message)


def confirm_prune(entries: Sequence[BackupEntry], *, yes: bool) -> None:
    """Show the backups to remove and ask once."""
    _show("This removes these backups for good:", (entry.folder for entry in entries))
    _ask("Remove them?", yes=yes)


def confirm_drop(entries: Sequence[KeptEntry], *, yes: bool) -> None:
    """Show the kept rows to drop and ask once."""
    _show(
        "This drops kept rows for good:",
        (f"{entry.id}: {counted(entry.rows, 'row')} of {entry.database}.{entry.name}" for entry in entries),
    )
    _ask("Drop them?", yes=yes)


def confirm_unprotect(overridden: Sequence[str], name: str, marker: ProtectionMarker) -> None:
    """Show a database's protection and ask for its name if it is not `overridden`."""
    write_stderr(f"{name} is protected {marker.description}")
    if name not in overridden:
        message = f"removing the protection of {name} needs its name"
        _ask_for_names([name], "to remove its protection", "--override-protection", message, database=name)


def confirm_drift(drift: Drift, *, yes: bool) -> None:
    """Show a schema that was changed by hand, with all differences from its revisions, and ask once."""
    _show(drift.message, [*drift.differences, *filter(None, [drift.reason])])
    _ask("Accept this schema?", yes=yes)


def confirm_reset(folder: str, *, yes: bool) -> None:
    """Ask before the data of the embedded server is deleted."""
    _show("This deletes the data of the embedded server:", [folder])
    _ask("Delete it?", yes=yes)


def _show(heading: str, lines: Iterable[str]) -> None:
    write_stderr(heading, *(f"  {line}" for line in lines))


def _ask(question: str, *, yes: bool) -> None:
    """Ask the question unless `yes`. Raises `NotConfirmed` for no, and without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmed(
            "the command needs a confirmation, and there is no terminal to ask on",
            hint="add --yes to confirm",
        )
    with _prompt():
        confirmed = typer.confirm(question, err=True)
    if not confirmed:
        raise NotConfirmed("not confirmed")


def _ask_for_names(
    names: list[str], purpose: str, option: str, text: str, *, yes: bool = False, database: str | None = None
) -> None:
    """Ask for the names. Raises `NotConfirmed` for other text, without a terminal, and with `yes`."""
    if yes or not sys.stdin.isatty():
        raise NotConfirmed(
            text if yes else f"{text}, and there is no terminal to ask on",
            database=database,
            hint="to confirm, add " + " ".join(f"{option} {shlex.quote(name)}" for name in names),
        )
    wanted = " ".join(names)
    with _prompt():
        typed = typer.prompt(visible(f"Type {wanted!r} {purpose}"), err=True)
    if typed.strip() != wanted:
        raise NotConfirmed("the typed text differs")


@contextmanager
def _prompt() -> Iterator[None]:
    """Turn Ctrl-C into an interruption and Ctrl-D into `NotConfirmed` while a question is open."""
    try:
        yield
    except typer.Abort as abort:
        write_stderr("")
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise NotConfirmed("not confirmed") from None
