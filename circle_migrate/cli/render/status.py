"""Render `status`: the databases side by side, then lines about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from circle_migrate.cli.render.report import write_finding
from circle_migrate.cli.render.widgets import revisions, table, write_line
from circle_migrate.core.findings import Severity

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.commands.status import DatabaseStatus, StatusResult


def status_result(result: StatusResult, console: Console) -> None:
    """Write a row per database, the pending revisions, and findings except notes."""
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
        if status.holder:
            write_line(console, f"{name}: another deployer has the lock: {status.holder}", style="yellow")
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
    server, current = f"PostgreSQL {status.server}", revisions(status.current)
    return (status.database, server, status.dbname, status.role, current, heads, pending, state)
