"""Results of commands that move the databases, and of those that show what ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.widgets import revisions, table, write_line
from circle_migrate.migrate.result import MigrationResult, PlanResult, ScriptResult
from circle_migrate.revision_graph.plan import Action, Plan, Stamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from circle_migrate.commands.run_results import LogResult, RecoverResult, SourceResult
    from circle_migrate.migrate.kept_data.entry import KeptRowCount

_MOST_TABLES = 20


def migration_result(result: MigrationResult, console: Console) -> None:
    """What was done, or would be."""
    for name in result.created:
        write_line(console, f"{name}: database created")
    if not result.plan:
        _nothing_to_do(result, console)
    elif result.dry_run:
        write_line(console, f"commit: {result.mode}")
        show_plan(result.plan, console)
    else:
        for name in result.plan.databases:
            low, high = (revisions(heads) for heads in (result.plan.current[name], result.plan.after[name]))
            count = sum(action.database == name for action in result.plan.actions)
            write_line(console, f"{name}: {low} -> {high}, {_steps(count)}", style="green")
        if result.run:
            write_line(console, f"commit: {result.mode}, run {result.run[:8]}")
        for rows in result.kept:
            write_line(console, kept_rows(rows, result.command))
        if result.restore_instructions:
            for note in result.restore_instructions.notes:
                write_line(console, f"note: {note}")
            write_line(console, f"backup: {result.restore_instructions.manifest}", whole=True)
            write_line(console, f"to go back: {result.restore_instructions.restore}", whole=True)
    for note in result.notes:
        write_line(console, f"note: {note}")
    if result.tables and not result.dry_run:
        table(
            console,
            ("database", "tables"),
            [(name, _names(tables)) for name, tables in result.tables.items()],
        )


def _names(tables: Sequence[str]) -> str:
    """As many names as are read at a glance; all of them are in the JSON."""
    more = len(tables) - _MOST_TABLES
    ending = [f"and {more:,} more"] if more > 0 else []
    return ", ".join([*tables[:_MOST_TABLES], *ending]) or "none"


def kept_rows(rows: KeptRowCount, command: str) -> str:
    """What was kept of a table, or put back into it, as a sentence."""
    name = f"{rows.database}: {rows.table}"
    if command == "downgrade":
        return f"{name}: {rows.rows:,} rows kept, to be put back by the next upgrade over {rows.revision}"
    if rows.missing:
        missing = f"{rows.missing:,} stay kept (circle-migrate kept list)"
        return f"{name}: {rows.rows:,} kept rows put back, {missing}"
    return f"{name}: {rows.rows:,} kept rows put back"


def _nothing_to_do(result: MigrationResult, console: Console) -> None:
    words = {"downgrade": "nothing to undo", "stamp": "already stamped"}
    for name, heads in result.plan.current.items():
        write_line(
            console, f"{name}: {words.get(result.command, 'already up to date')} at {revisions(heads)}"
        )


def plan_result(result: PlanResult, console: Console) -> None:
    """The plan, segment by segment."""
    if not result.plan:
        for name, heads in result.plan.current.items():
            write_line(console, f"{name}: nothing to do at {revisions(heads)}")
        return
    write_line(console, f"commit: {result.mode}")
    show_plan(result.plan, console)
    if result.file:
        write_line(console, f"saved in {result.file}")


def show_plan(plan: Plan, console: Console) -> None:
    """The steps, by the transactions they share."""
    number = 0
    for segment in plan.segments:
        rows = []
        for action in segment.actions:
            number += 1
            rows.append((str(number), action.database, str(action.direction), *_what(action)))
        each = " and ".join(f"one transaction on {name}" for name in segment.databases)
        kind = each if segment.transactional else "no transaction"
        write_line(console, f"segment: {kind}", style="bold")
        table(console, ("step", "database", "", "revision", "message"), rows)
        if segment.end_reason:
            write_line(console, f"  ends because {segment.end_reason}")
    if plan.added_dependencies:
        write_line(
            console,
            "required by others: " + ", ".join(revision.qualified for revision in plan.added_dependencies),
        )


def _what(action: Action) -> tuple[str, str]:
    if isinstance(action, Stamp):
        return revisions(action.heads), f"claims {len(action.claimed)}, disowns {len(action.disowned)}"
    return action.revision.id, action.revision.message


def script_result(result: ScriptResult, console: Console) -> None:
    """The script as it is."""
    console.file.write(result.text)


def recover_result(result: RecoverResult, console: Console) -> None:
    """What was found and how it was settled."""
    would = "would be " if result.dry_run else ""
    for recovered_transaction in result.settled:
        outcome = "committed" if recovered_transaction.committed else "rolled back"
        has = "has" if recovered_transaction.committed else "has not"
        reason = f"{recovered_transaction.decider} {has} committed segment {recovered_transaction.segment} of the run"
        write_line(
            console,
            f"{recovered_transaction.database}: prepared transaction of run {recovered_transaction.run} {would}{outcome}: {reason}",
        )
    for name, runs in result.lost.items():
        for run in runs:
            write_line(console, f"{name}: run {run} never ended; {would}marked as lost")
    if not result.settled and not any(result.lost.values()):
        write_line(console, "nothing to recover")
    for name, heads in result.current.items():
        write_line(console, f"{name}: at {revisions(heads)}")


def log_result(result: LogResult, console: Console) -> None:
    """One line per run, or per step where the slowest are asked for."""
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
    table(
        console,
        ("started (UTC)", "database", "command", "outcome", "steps", "time", "mode", "by", "run"),
        rows,
    )
    if not rows:
        write_line(console, "no runs yet")
    for run in result.runs:
        if run.error:
            write_line(console, f"{run.database} {run.run[:8]}: {run.error.splitlines()[0]}", style="red")
        judged = run.notes.get("safety", {})
        found = sorted({each["hazard"] for each in judged.get("found", ()) if each["verdict"] == "danger"})
        if found:
            allowed = ", ".join(judged["allowed"]) or "nothing"
            write_line(
                console, f"{run.database} {run.run[:8]}: in spite of {', '.join(found)}; allowed: {allowed}"
            )


def _slowest(result: LogResult, console: Console) -> None:
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
    table(console, ("duration", "database", "", "revision", "message", "started (UTC)"), rows)


def source_result(result: SourceResult, console: Console) -> None:
    """The text as it is."""
    console.file.write(result.text)


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"
