"""Render results of commands that change the databases, losses, and past runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.cli.formats.sanitize import replace_controls, visible
from circle_migrate.cli.render.widgets import (
    detail_label,
    line,
    revisions,
    table,
    write_environment,
    write_line,
    write_notes,
)
from circle_migrate.core.counted import counted
from circle_migrate.migrate.guards import describe_not_ours
from circle_migrate.revision_graph.plan import Action, Plan, Stamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from circle_migrate.commands.log import LogResult, SourceResult
    from circle_migrate.commands.recover import RecoverResult
    from circle_migrate.migrate.journal_rows import JournalRun
    from circle_migrate.migrate.kept_data.registry import KeptRowCount
    from circle_migrate.migrate.result import MigrationResult, PlannedResult, PlanResult, ScriptResult
    from circle_migrate.safety.losses.report import LossReport

_MAX_TABLES = 20


def migration_result(result: MigrationResult, console: Console) -> None:
    """Write what was changed, or with --dry-run what would be."""
    if result.dry_run:  # a run has written it to stderr before it began
        write_environment(result.environment, console)
    for name in result.created:
        write_line(console, f"{name}: database created")
    if not result.plan:
        texts = {"downgrade": "nothing to undo", "stamp": "already stamped"}
        _unchanged(result.plan, texts.get(result.command, "already up to date"), console)
    elif result.dry_run:
        show_plan(result, console)
    else:
        for name in result.plan.databases:
            before, after = (revisions(heads[name]) for heads in (result.plan.current, result.plan.after))
            count = sum(action.database == name for action in result.plan.actions)
            text = f"{name}: {before} -> {after}, {counted(count, 'step')}"
            write_line(console, text, style="green")
        if result.run:
            write_line(console, f"commit: {result.mode}, run {result.run[:8]}")
        for kept in result.kept:
            write_line(console, _kept_rows(kept, result.command))
        if result.restore_instructions:
            write_notes(console, result.restore_instructions.notes)
            write_line(console, f"backup: {result.restore_instructions.manifest}", wrap=False)
            write_line(console, f"to go back: {result.restore_instructions.restore}", wrap=False)
    write_notes(console, result.notes)
    if result.plan and not result.dry_run:
        rows = [(name, _truncate(tables)) for name, tables in result.tables.items()]
        table(console, ("database", "tables"), rows)


def _truncate(tables: Sequence[str]) -> str:
    """Return the first names; the JSON output has all."""
    more = len(tables) - _MAX_TABLES
    return ", ".join([*tables[:_MAX_TABLES], *([f"and {more:,} more"] if more > 0 else [])]) or "none"


def _kept_rows(rows: KeptRowCount, command: str) -> str:
    name = f"{rows.database}: {rows.table}"
    if command == "downgrade":
        text = f"the next upgrade over {rows.revision} restores {'it' if rows.rows == 1 else 'them'}"
        return f"{name}: {counted(rows.rows, 'row')} kept; {text}"
    kept = f", {rows.missing:,} still kept: circle-migrate kept list" if rows.missing else ""
    return f"{name}: {counted(rows.rows, 'kept row')} restored{kept}"


def _unchanged(plan: Plan, text: str, console: Console) -> None:
    for name in plan.targeted or plan.current:
        write_line(console, f"{name}: {text} at {revisions(plan.current[name])}")


def plan_result(result: PlanResult, console: Console) -> None:
    """Write the plan, and the file it was saved to."""
    write_environment(result.environment, console)
    if not result.plan:
        _unchanged(result.plan, "nothing to do", console)
    else:
        show_plan(result, console)
    write_notes(console, result.notes)
    if result.file:
        write_line(console, f"saved in {result.file}")


def show_plan(result: PlannedResult, console: Console) -> None:
    """Write the settings, a row for each step with its transaction, and why each transaction ends."""
    plan = result.plan
    write_line(console, f"commit: {result.mode}")
    if result.statement_timeout:
        write_line(console, f"statement timeout: {result.statement_timeout:g} s")
    rows: list[tuple[str, ...]] = []
    ends: dict[str, list[str]] = {}
    number = 0
    for segment in plan.segments:
        number += segment.transactional
        transaction = str(number) if segment.transactional else "none"
        for action in segment.actions:
            step = str(len(rows) + 1)
            rows.append((step, transaction, action.database, str(action.direction), *_description(action)))
        ends.setdefault(segment.end_reason, []).append(str(len(rows)))
    table(console, ("step", "transaction", "database", "", "revision", "message"), rows)
    for reason in filter(None, ends):
        write_line(console, f"transaction ends after step {', '.join(ends[reason])}: {reason}")
    if plan.added_dependencies:
        required = ", ".join(revision.qualified for revision in plan.added_dependencies)
        write_line(console, f"required by other revisions: {required}")


def _description(action: Action) -> tuple[str, str]:
    if isinstance(action, Stamp):
        counts = ((len(action.claimed), "applied"), (len(action.disowned), "undone"))
        texts = [f"{count} as {word}" for count, word in counts if count]
        text = f"marks {', '.join(texts) or 'none'}"
        if len(action.claimed) == 1 and (replaced := action.claimed[0].replaces):
            text = f"takes the place of {counted(len(replaced), 'revision')}"
        return revisions(action.heads), text
    return action.revision.id, action.revision.message


def script_result(result: ScriptResult | SourceResult, console: Console, mark: str = "-- ") -> None:
    """Write the text; unchanged, unless a terminal would obey what is in it."""
    console.file.write(replace_controls(result.text, mark) if console.file.isatty() else result.text)


source_result = partial(script_result, mark="# ")


def recover_result(result: RecoverResult, console: Console) -> None:
    """Write the prepared transactions, the lost runs, and the revision of each database."""
    verb = "would be " if result.dry_run else ""
    for transaction in result.transactions:
        outcome, has = ("committed", "has") if transaction.committed else ("rolled back", "has not")
        subject = f"{transaction.database}: prepared transaction of run {transaction.run}"
        reason = f"{transaction.decider} {has} committed segment {transaction.segment} of the run"
        write_line(console, f"{subject} {verb}{outcome}: {reason}")
    for name, runs in result.lost.items():
        for run in runs:
            write_line(console, f"{name}: run {run} has no end; {verb}marked as lost")
    for name, gids in result.not_ours.items():
        for gid in gids:
            write_line(console, f"{describe_not_ours(name, gid)}; it is left as it is")
    if not result.transactions and not any(result.lost.values()):
        write_line(console, "nothing to recover")
    for name, heads in result.current.items():
        write_line(console, f"{name}: at {revisions(heads)}")


def log_result(result: LogResult, console: Console) -> None:
    """Write an entry for each run with a line per database, or with --slowest a row per step."""
    if result.slowest:
        _slowest_steps(result, console)
        return
    if not result.runs:
        write_line(console, "no runs yet")
    by_id: dict[str, list[JournalRun]] = {run.run: [] for run in result.runs}
    for run in reversed(result.runs):
        by_id[run.run].append(run)
    for key, runs in by_id.items():
        first = runs[0]
        text = f"{first.started_at:%F %T} UTC  {first.command}, {first.mode}, by {first.os_user}@{first.host}"
        line(console, 0, (f"{key[:8]}  ", "yellow"), (text, "bold"))
        errors: set[str | None] = set()
        for run in runs:
            _database_of_run(run, console, shows_error=run.error not in errors)
            errors.add(run.error)


def _database_of_run(run: JournalRun, console: Console, *, shows_error: bool) -> None:
    planned = run.planned.get(run.database)  # None where the database had another name
    steps = counted(len(run.steps if planned is None else planned), "step")
    if planned is not None:
        steps = f"{len(run.steps)} of {steps}"
    duration = _duration(sum(step.duration_ms for step in run.steps))
    line(console, 2, (f"{run.database}: {run.outcome}, {steps}, {duration}, as {run.db_role}", ""))
    if run.error and shows_error:
        message, *detail = run.error.splitlines()
        line(console, 4, (message, "red"))
        for text in detail[:1]:
            line(console, 4, (f"{detail_label(text):<6} {text}", ""))
    drift = run.notes.get("drift")
    if drift:
        texts = [f"schema changed by hand: {drift['outcome']}"]
        if count := len(drift["differences"]):
            texts.append(counted(count, "difference"))
        line(console, 4, (", ".join(filter(None, [*texts, drift.get("reason")])), ""))
    safety = run.notes.get("safety", {})
    dangers = {item["hazard"] for item in safety.get("found", ()) if item["verdict"] == "danger"}
    if dangers:
        allowed = ", ".join(safety["allowed"]) or "nothing"
        line(console, 4, (f"ran in spite of {', '.join(sorted(dangers))}; allowed: {allowed}", ""))


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:,.1f} ms" if milliseconds else "-"


def _slowest_steps(result: LogResult, console: Console) -> None:
    steps = [(step, run.database) for run in result.runs for step in run.steps]
    steps.sort(key=lambda pair: pair[0].duration_ms, reverse=True)
    rows = []
    for step, database in steps:
        duration, started = _duration(step.duration_ms), f"{step.started_at:%F %T}"
        rows.append((duration, database, step.direction, step.revision, step.message, started))
    table(console, ("duration", "database", "", "revision", "message", "started (UTC)"), rows)


def loss_report(result: LossReport, console: Console) -> None:
    """Write the plan, a row for each loss, the most destructive first, the notes and a summary."""
    from circle_migrate.safety.losses.describe import describe_loss, report_notes, summary

    write_environment(result.environment, console)
    if not result.plan:
        _unchanged(result.plan, "nothing to undo", console)
        return
    show_plan(result, console)
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
            table(console, ("name", "kind", "by", "what"), rows)
    write_notes(console, map(visible, report_notes(result)))
    write_line(console, summary(result), style="" if result.destroyed else "green")
