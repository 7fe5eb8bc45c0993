"""`status` as people read it: the databases side by side, then whatever is to be said about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from circle_migrate.cli.render.report import finding
from circle_migrate.cli.render.widgets import table, write_line
from circle_migrate.commands.status_result import DatabaseStatus, StatusResult
from circle_migrate.core.findings import Severity

if TYPE_CHECKING:
    from rich.console import Console


def status_result(result: StatusResult, console: Console) -> None:
    """Write a row per database, the pending revisions, and the findings that are more than a note."""
    table(
        console,
        ("database", "server", "name", "role", "current", "head", "pending", "state"),
        [_row(database_status) for database_status in result.databases],
    )
    standing = {database_status.database: database_status for database_status in result.databases}
    for database_status in result.databases:
        for revision in database_status.pending:
            needs = ", ".join(f"{need}: {_met(need, standing)}" for need in revision.requires)
            text = f"{database_status.database}: pending {revision.id} {revision.message}"
            write_line(console, f"{text} (requires {needs})" if needs else text)
        if database_status.protection:
            write_line(
                console, f"{database_status.database}: protected {database_status.protection.description}"
            )
        if database_status.holder:
            write_line(
                console,
                f"{database_status.database}: a deployer is at work: {database_status.holder}",
                style="yellow",
            )
        if database_status.last_run:
            last = database_status.last_run
            text = f"last run {last.command}, {last.outcome}, {last.started_at:%F %T} UTC"
            write_line(
                console, f"{database_status.database}: {text}, by {last.os_user}@{last.host}", style="dim"
            )
    for found in result.findings:
        if found.severity is not Severity.NOTE and found.rule != "pending":
            finding(found, console)


def _met(need: str, standing: Mapping[str, DatabaseStatus]) -> str:
    """Whether a requirement of a pending revision is applied, where that can be said."""
    name, _, key = need.partition("@")
    other = standing.get(name)
    if other is None or other.error is not None or other.unknown:
        return "not known"
    return "pending" if key in {revision.id for revision in other.pending} else "applied"


def _row(database_status: DatabaseStatus) -> tuple[str, ...]:
    heads = ", ".join(database_status.heads) or "base"
    if database_status.error is not None:
        return (database_status.database, "?", "?", "?", "?", heads, "?", database_status.error.code)
    pending = (
        "?"
        if database_status.unknown
        else str(len(database_status.pending))
        if database_status.pending
        else "none"
    )
    state = (
        f"{database_status.access}, {'ahead' if database_status.ahead else 'unknown revision'}"
        if database_status.unknown
        else database_status.access
    )
    current = ", ".join(database_status.current) or "base"
    server = f"PostgreSQL {database_status.server}"
    return (
        database_status.database,
        server,
        database_status.dbname,
        database_status.role,
        current,
        heads,
        pending,
        state,
    )
