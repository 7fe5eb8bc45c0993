"""Results as people read them: rich tables on a terminal, plain aligned lines in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import singledispatch
from os import getcwd, sep
from typing import TYPE_CHECKING

from circle_migrate.core.listings import (
    Configuration,
    Currents,
    Listed,
    Listing,
    Server,
    Standing,
    Written,
)
from circle_migrate.core.plan import Action, Plan, Stamp
from circle_migrate.core.result import Moved, Planned, Result, Script
from circle_migrate.core.runs import Log, Recovered, Source
from circle_migrate.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console

_GAP = "  "
_MARK_STYLES = {"current": "green", "head": "cyan", "branch point": "magenta", "merge": "magenta"}


@singledispatch
def render(result: Result, console: Console) -> None:
    """Write a result to the console."""
    raise NotImplementedError(type(result).__name__)


@render.register(Moved)
def _moved(result: Moved, console: Console) -> None:
    for name in result.created:
        _say(console, f"{name}: database created")
    if not result.plan:
        _nothing_to_do(result, console)
    elif result.dry_run:
        _plan(result.plan, console)
    else:
        for name in result.plan.databases:
            low, high = (_revisions(heads) for heads in (result.plan.current[name], result.plan.after[name]))
            count = sum(action.database == name for action in result.plan.actions)
            _say(console, f"{name}: {low} -> {high}, {_steps(count)}", style="green")
    if result.tables and not result.dry_run:
        _table(
            console,
            ("database", "tables"),
            [(name, ", ".join(tables) or "none") for name, tables in result.tables.items()],
        )


def _nothing_to_do(result: Moved, console: Console) -> None:
    words = {"downgrade": "nothing to undo", "stamp": "already stamped"}
    for name, heads in result.plan.current.items():
        _say(console, f"{name}: {words.get(result.command, 'already up to date')} at {_revisions(heads)}")


def _plan(plan: Plan, console: Console) -> None:
    number = 0
    for segment in plan.segments:
        rows = []
        for action in segment.actions:
            number += 1
            rows.append((str(number), action.database, str(action.direction), *_what(action)))
        kind = "one transaction on each database" if segment.transactional else "no transaction"
        _say(console, f"segment: {kind}", style="bold")
        _table(console, ("step", "database", "", "revision", "message"), rows)
        if segment.ends_because:
            _say(console, f"  ends because {segment.ends_because}")
    if plan.pulled_in:
        _say(console, "required by others: " + ", ".join(revision.qualified for revision in plan.pulled_in))


def _what(action: Action) -> tuple[str, str]:
    if isinstance(action, Stamp):
        return _revisions(action.heads), f"claims {len(action.claimed)}, disowns {len(action.disowned)}"
    return action.revision.id, action.revision.message


@render.register(Currents)
def _currents(result: Currents, console: Console) -> None:
    rows = [
        (
            each.database,
            _revisions(tuple(revision.id for revision in each.current)) if not _unread(each) else "?",
            ", ".join(revision.message for revision in each.current),
            _standing_words(each),
        )
        for each in result.standings
    ]
    _table(console, ("database", "current", "message", "state"), rows)
    for each in result.standings:
        if each.error is not None:
            _say(console, each.error.message, style="red")
            if each.error.hint:
                _say(console, f"  hint   {each.error.hint}")


def _unread(standing: Standing) -> bool:
    return standing.error is not None and not standing.current


def _standing_words(standing: Standing) -> str:
    if standing.error is not None:
        return standing.error.code
    return f"{standing.pending} pending" if standing.pending else "head"


@render.register(Listing)
def _listing(result: Listing, console: Console) -> None:
    if result.command == "show":
        for listed in result.listed.values():
            for each in listed:
                _one(each, console)
        return
    rows = [
        (name, each.revision.id, ", ".join(each.revision.down) or "base", each.revision.message, _marks(each))
        for name, listed in result.listed.items()
        for each in listed
    ]
    _table(console, ("database", "revision", "follows", "message", ""), rows)
    for name, listed in result.listed.items():
        if not listed:
            _say(console, f"{name}: none")


def _marks(listed: Listed) -> str:
    revision = listed.revision
    words = [*listed.marks, *(f"label {label}" for label in revision.labels)]
    words += [f"requires {need}" for need in revision.requires]
    return ", ".join(words)


def _one(listed: Listed, console: Console) -> None:
    revision = listed.revision
    facts = [
        ("revision", f"{revision.qualified}{' (' + ', '.join(listed.marks) + ')' if listed.marks else ''}"),
        ("follows", ", ".join(revision.down) or "base"),
        ("depends on", ", ".join(revision.depends_on)),
        ("requires", ", ".join(revision.requires)),
        ("labels", ", ".join(revision.labels)),
        ("transaction", f"none: {revision.why_alone}" if revision.why_alone else ""),
        ("irreversible", revision.irreversible or ""),
        ("file", _relative(revision.location)),
    ]
    for key, value in facts:
        if value:
            _say(console, f"{key:<12} {value}")
    _say(
        console, "\n" + "\n".join("    " + line if line else "" for line in revision.doc.splitlines()) + "\n"
    )


@render.register(Written)
def _written(result: Written, console: Console) -> None:
    for revision in result.revisions:
        _say(console, f"{revision.database}: {_relative(revision.path)}", style="green")
    for name in result.unchanged:
        words = "nothing has changed" if result.command == "revision" else "one head, nothing to merge"
        _say(console, f"{name}: {words}")


@render.register(Script)
def _script(result: Script, console: Console) -> None:
    console.file.write(result.text)


@render.register(Planned)
def _planned(result: Planned, console: Console) -> None:
    if not result.plan:
        for name, heads in result.plan.current.items():
            _say(console, f"{name}: nothing to do at {_revisions(heads)}")
        return
    _say(console, f"commit: {result.mode}")
    _plan(result.plan, console)
    if result.file:
        _say(console, f"saved in {result.file}")


@render.register(Recovered)
def _recovered(result: Recovered, console: Console) -> None:
    would = "would be " if result.dry_run else ""
    for each in result.settled:
        outcome = "committed" if each.committed else "rolled back"
        has = "has" if each.committed else "has not"
        reason = f"{each.decider} {has} committed segment {each.segment} of the run"
        _say(console, f"{each.database}: prepared transaction of run {each.run} {would}{outcome}: {reason}")
    for name, runs in result.lost.items():
        for run in runs:
            _say(console, f"{name}: run {run} never ended; {would}marked as lost")
    if not result.settled and not any(result.lost.values()):
        _say(console, "nothing to recover")
    for name, heads in result.current.items():
        _say(console, f"{name}: at {_revisions(heads)}")


@render.register(Log)
def _log(result: Log, console: Console) -> None:
    if result.slowest:
        _slowest(result, console)
        return
    rows = [
        (
            f"{run.started_at:%F %T}",
            run.database,
            run.command,
            run.outcome,
            f"{len(run.steps)} of {len(run.planned.get(run.database, ()))}",
            f"{sum(step.duration_ms for step in run.steps):.1f} ms",
            run.mode,
            f"{run.os_user}@{run.host} as {run.db_role}",
            run.run[:8],
        )
        for run in result.runs
    ]
    _table(
        console,
        ("started (UTC)", "database", "command", "outcome", "steps", "time", "mode", "by", "run"),
        rows,
    )
    if not rows:
        _say(console, "no runs yet")
    for run in result.runs:
        if run.error:
            _say(console, f"{run.database} {run.run[:8]}: {run.error.splitlines()[0]}", style="red")


def _slowest(result: Log, console: Console) -> None:
    steps = [(step, run) for run in result.runs for step in run.steps]
    steps.sort(key=lambda pair: pair[0].duration_ms, reverse=True)
    rows = [
        (
            f"{s.duration_ms:.1f} ms",
            r.database,
            s.direction,
            s.revision,
            s.message,
            f"{s.started_at:%F %T}",
        )
        for s, r in steps
    ]
    _table(console, ("duration", "database", "", "revision", "message", "started (UTC)"), rows)


@render.register(Source)
def _source(result: Source, console: Console) -> None:
    console.file.write(result.text)


@render.register(Configuration)
def _configuration(result: Configuration, console: Console) -> None:
    _table(console, ("setting", "value", "from"), result.values)


@render.register(Server)
def _server(result: Server, console: Console) -> None:
    state = "running" if result.facts.get("running") else "stopped"
    _say(console, f"embedded PostgreSQL: {state}", style="green" if state == "running" else "")
    for key, value in result.facts.items():
        if key != "running" and value is not None:
            _say(console, f"  {key:<8} {value}")
    for key, value in result.urls.items():
        _say(console, f"  {key}={value}")


def _table(console: Console, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    rows = [tuple(map(redact, row)) for row in rows]
    if not rows:
        return
    if console.is_terminal:
        _drawn(console, head, rows)
        return
    widths = [max(len(row[i]) for row in [tuple(head), *rows]) for i in range(len(head))]
    for row in [tuple(head), *rows]:
        console.out(_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _drawn(console: Console, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, style=_MARK_STYLES.get(cell, "")) for cell in row))
    console.print(table)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(redact(text), style=style, markup=False)


def _revisions(heads: Sequence[str]) -> str:
    return ", ".join(heads) or "base"


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _relative(location: str) -> str:
    return location.removeprefix(getcwd() + sep)  # noqa: PTH109 - a prefix to cut, not a path to use
