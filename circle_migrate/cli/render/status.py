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
        [_row(each) for each in result.databases],
    )
    standing = {each.database: each for each in result.databases}
    for each in result.databases:
        for revision in each.pending:
            needs = ", ".join(f"{need}: {_met(need, standing)}" for need in revision.requires)
            text = f"{each.database}: pending {revision.id} {revision.message}"
            write_line(console, f"{text} (requires {needs})" if needs else text)
        if each.protection:
            write_line(console, f"{each.database}: protected {each.protection.description}")
        if each.holder:
            write_line(console, f"{each.database}: a deployer is at work: {each.holder}", style="yellow")
        if each.last_run:
            last = each.last_run
            text = f"last run {last.command}, {last.outcome}, {last.started_at:%F %T} UTC"
            write_line(console, f"{each.database}: {text}, by {last.os_user}@{last.host}", style="dim")
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


def _row(each: DatabaseStatus) -> tuple[str, ...]:
    heads = ", ".join(each.heads) or "base"
    if each.error is not None:
        return (each.database, "?", "?", "?", "?", heads, "?", each.error.code)
    pending = "?" if each.unknown else str(len(each.pending)) if each.pending else "none"
    state = f"{each.access}, {'ahead' if each.ahead else 'unknown revision'}" if each.unknown else each.access
    current = ", ".join(each.current) or "base"
    server = f"PostgreSQL {each.server}"
    return (each.database, server, each.dbname, each.role, current, heads, pending, state)
