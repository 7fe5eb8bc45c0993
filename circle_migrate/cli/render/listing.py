"""Render revisions, `status`, settings, diagrams and the embedded server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from circle_migrate.cli.formats.sanitize import safe
from circle_migrate.cli.render.report import write_finding
from circle_migrate.cli.render.widgets import (
    Part,
    line,
    relative,
    revisions,
    table,
    write_environment,
    write_line,
    write_notes,
)
from circle_migrate.commands.graph.lanes import lanes
from circle_migrate.core.findings import Severity, from_error

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.api.metrics import MetricsResult
    from circle_migrate.commands.graph.drawing import DiagramResult
    from circle_migrate.commands.history import CurrentResult, DatabasePosition, ListedRevision, RevisionList
    from circle_migrate.commands.rebase import RebaseResult
    from circle_migrate.commands.set_up_results import ConfigurationResult, SchemaResult, ServerResult
    from circle_migrate.commands.squash.squash import SquashResult
    from circle_migrate.commands.status import DatabaseStatus, StatusResult
    from circle_migrate.diff.autogenerate.revision_file import RevisionFilesResult


def current_result(result: CurrentResult, console: Console) -> None:
    """Write the current revisions of each database, and errors."""
    table(console, ("database", "current", "message", "state"), map(_position, result.positions))
    for position in result.positions:
        if position.error is not None:
            write_finding(from_error(position.error), console)


def _position(position: DatabasePosition) -> tuple[str, ...]:
    current = revisions([revision.id for revision in position.current])
    state = f"{position.pending} pending" if position.pending else "head"
    if position.error is not None:
        current, state = current if position.current else "?", position.error.code
    return (position.database, current, ", ".join(revision.message for revision in position.current), state)


def revision_list(result: RevisionList, console: Console) -> None:
    """Write the revisions as a tree, the newest first, or for `show` one after the other."""
    for name, entries in result.revisions.items():
        if result.command == "show":
            for entry in entries:
                _revision(entry, console)
            continue
        write_line(console, f"{name}:" if entries else f"{name}: none", style="bold")
        for drawing, listed in draw_tree(entries if result.command == "history" else entries[::-1]):
            parts: list[Part] = []
            if listed is not None:
                marks = f" ({text})" if (text := _marks(listed)) else ""
                message = f" {listed.revision.message}"
                parts = [(f" {listed.revision.id}", "yellow"), (marks, "cyan"), (message, "")]
            line(console, len(drawing) + 1, *parts, margin=drawing.rstrip())


def draw_tree(entries: Sequence[ListedRevision]) -> Iterator[tuple[str, ListedRevision | None]]:
    """Yield a drawing as of `git log --graph` by lines, with the entry of each; entries are newest first."""
    by_id = {entry.revision.id: entry for entry in entries}
    for lane in lanes({key: entry.revision.down_revisions for key, entry in by_id.items()}):
        place, right, parents = lane.place, lane.right, lane.parents
        for ended, other in enumerate(lane.joins, 1):
            count = lane.width + len(lane.joins) - ended
            yield "| " * (other - 1) + "|/" + " /" * (count - other), None
            for column in range(other - 1, place, -1):
                yield "| " * (column - 1) + "|/" + "| " * (count - column), None
        entry = by_id[lane.revision]
        yield "| " * place + "*" + " |" * right, entry
        if not parents and entry is not entries[-1]:
            yield "| " * place + " /" * right, None
        for column in range(place, place + len(parents) - 1):
            yield "| " * column + "|\\" + " \\" * right, None


def _marks(entry: ListedRevision) -> str:
    labels = [f"label {label}" for label in entry.revision.labels]
    return ", ".join([*entry.marks, *labels, *(f"requires {need}" for need in entry.revision.requires)])


def _revision(entry: ListedRevision, console: Console) -> None:
    revision = entry.revision
    marks, reason = ", ".join(entry.marks), revision.non_transactional_reason
    for key, value in (
        ("revision", f"{revision.qualified} ({marks})" if marks else revision.qualified),
        ("follows", revisions(revision.down_revisions)),
        ("depends on", ", ".join(revision.depends_on)),
        ("requires", ", ".join(revision.requires)),
        ("labels", ", ".join(revision.labels)),
        ("transaction", f"none: {reason}" if reason else ""),
        ("irreversible", revision.irreversible),
        ("file", relative(revision.location)),
    ):
        if value:
            write_line(console, f"{key:<12} {value}", wrap=key != "file")
    lines = ("    " + line if line else "" for line in entry.doc.splitlines())
    write_line(console, "\n" + "\n".join(lines) + "\n")


def revision_files_result(result: RevisionFilesResult, console: Console) -> None:
    """Write the files that were created."""
    for revision in result.revisions:
        style = "red" if revision.database in result.failed else "green"
        write_line(console, f"{revision.database}: {relative(revision.path)}", style=style)
    reason = "nothing has changed" if result.command == "revision" else "one head, nothing to merge"
    for name in result.unchanged:
        write_line(console, f"{name}: {reason}")
    write_notes(console, result.notes)


def squash_result(result: SquashResult, console: Console) -> None:
    """Write which file was created, or its text."""
    revision = result.revision
    if result.dry_run:
        console.file.write(safe(result.text))
        return
    write_line(console, f"{revision.database}: {relative(revision.path)}", style="green")
    write_line(console, f"{revision.database}: {revision.id} replaces {', '.join(revision.replaces)}")
    write_notes(console, result.notes)


def rebase_result(result: RebaseResult, console: Console) -> None:
    """Write what the revision follows now, and how its file was changed."""
    revision, parent = result.revision, ", ".join(result.revision.down_revisions)
    if not result.diff:
        write_line(console, f"{revision.database}: {revision.id} follows {parent or 'base'} already")
        write_notes(console, result.notes)
        return
    before = ", ".join(result.before) or "base"
    text = f"{revision.database}: {revision.id} follows {parent}, no longer {before}"
    write_line(console, text, style="green")
    if result.follow:
        write_line(console, f"{revision.database}: after it as before: {', '.join(result.follow)}")
    write_line(console, safe(result.diff).rstrip("\n"), wrap=False)
    write_notes(console, result.notes)


def configuration_result(result: ConfigurationResult, console: Console) -> None:
    """Write the settings."""
    table(console, ("setting", "value", "from"), result.values)


def server_result(result: ServerResult, console: Console) -> None:
    """Write the state of the embedded server."""
    state = "running" if result.facts.get("running") else "stopped"
    write_line(console, f"embedded PostgreSQL: {state}", style="green" if state == "running" else "")
    for key, value in result.facts.items():
        if key != "running" and value is not None:
            write_line(console, f"  {key:<8} {value}")
    for key, value in result.urls.items():
        write_line(console, f"  {key}={value}")


def schema_result(result: SchemaResult, console: Console) -> None:
    """Write the schema as JSON for a validator."""
    console.file.write(json.dumps(result.schema, indent=2) + "\n")


def diagram_result(result: DiagramResult, console: Console) -> None:
    """Write the diagram unchanged, or the file it was saved to."""
    if result.file is None:
        console.file.write(result.text)
    else:
        write_line(console, result.file, style="green")


def metrics_result(result: MetricsResult, console: Console) -> None:
    """Write the metrics unchanged, or the file they were saved to."""
    if result.text is not None:
        console.file.write(result.text)
    else:
        write_line(console, str(result.file), style="green")


def status_result(result: StatusResult, console: Console) -> None:
    """Write a row per database, the pending revisions, and findings except notes."""
    write_environment(result.environment, console)
    table(
        console,
        ("database", "server", "name", "role", "current", "head", "pending", "state"),
        map(_row, result.databases),
    )
    by_name = {status.database: status for status in result.databases}
    for name, status in by_name.items():
        for revision in status.pending:
            requirements = ", ".join(
                f"{need}: {_requirement_state(need, by_name)}" for need in revision.requires
            )
            text = f"{name}: pending {revision.id} {revision.message}"
            write_line(console, f"{text} (requires {requirements})" if requirements else text)
        if status.protection:
            write_line(console, f"{name}: protected {status.protection.description}")
        if holder := status.lock_holder:
            write_line(console, f"{name}: another deployer has the lock: {holder}", style="yellow")
        if run := status.last_run:
            text = f"{name}: last run {run.command}, {run.outcome}, {run.started_at:%F %T} UTC"
            write_line(console, f"{text}, by {run.os_user}@{run.host}", style="dim")
    for finding in result.findings:
        if finding.severity is not Severity.NOTE and finding.rule != "pending":
            write_finding(finding, console)


def _requirement_state(qualified: str, by_name: Mapping[str, DatabaseStatus]) -> str:
    """Return whether the required revision `database@id` is applied."""
    name, _, key = qualified.partition("@")
    status = by_name.get(name)
    if status is None or status.error is not None or status.unknown:
        return "not known"
    return "pending" if key in {revision.id for revision in status.pending} else "applied"


def _row(status: DatabaseStatus) -> tuple[str, ...]:
    heads = revisions(status.heads)
    if status.error is not None:
        return (status.database, "?", "?", "?", "?", heads, "?", status.error.code)
    pending, state = str(len(status.pending) or "none"), status.access
    if status.unknown:
        pending, state = "?", f"{status.access}, {'ahead' if status.ahead else 'unknown revision'}"
    server, current = f"PostgreSQL {status.server_version}", revisions(status.current)
    return (status.database, server, status.dbname, status.role, current, heads, pending, state)
