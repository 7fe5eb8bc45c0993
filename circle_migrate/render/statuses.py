"""`status` as people read it: the databases side by side, then whatever is to be said about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.core.findings import Severity
from circle_migrate.core.statuses import DatabaseStatus, Status
from circle_migrate.render.drawing import say, table
from circle_migrate.render.reports import finding

if TYPE_CHECKING:
    from rich.console import Console


def status(result: Status, console: Console) -> None:
    """Write a row per database, the pending revisions, and the findings that are more than a note."""
    table(
        console,
        ("database", "server", "name", "role", "current", "head", "pending", "state"),
        [_row(each) for each in result.databases],
    )
    for each in result.databases:
        for revision in each.pending:
            needs = f" (requires {', '.join(revision.requires)})" if revision.requires else ""
            say(console, f"{each.database}: pending {revision.id} {revision.message}{needs}")
        if each.holder:
            say(console, f"{each.database}: a deployer is at work: {each.holder}", style="yellow")
        if each.last_run:
            last = each.last_run
            text = f"last run {last.command}, {last.outcome}, {last.started_at:%F %T} UTC"
            say(console, f"{each.database}: {text}, by {last.os_user}@{last.host}", style="dim")
    for found in result.findings:
        if found.severity is not Severity.NOTE and found.rule != "pending":
            finding(found, console)


def _row(each: DatabaseStatus) -> tuple[str, ...]:
    heads = ", ".join(each.heads) or "base"
    if each.error is not None:
        return (each.database, "?", "?", "?", "?", heads, "?", each.error.code)
    pending = str(len(each.pending)) if each.pending else "none"
    current = ", ".join(each.current) or "base"
    server = f"PostgreSQL {each.server}"
    return (each.database, server, each.dbname, each.role, current, heads, pending, each.access)
