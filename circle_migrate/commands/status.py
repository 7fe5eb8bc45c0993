"""Status: both databases in one view, whatever state they are in."""

from __future__ import annotations

from circle_migrate.commands.checks.database_checks import pending_revisions, several_heads, state_checks
from circle_migrate.commands.checks.database_facts import DatabaseFacts, read_all_facts
from circle_migrate.commands.checks.unknown_revision import is_ahead
from circle_migrate.commands.status_result import DatabaseStatus, StatusResult
from circle_migrate.core.errors import MigrateError
from circle_migrate.core.findings import Severity
from circle_migrate.migrate.protection import protection
from circle_migrate.postgres.deployment import Deployment, folders


async def status(deployment: Deployment, *, strict: bool = False) -> StatusResult:
    """Everything there is to know about the selected databases without writing to them.

    Pending revisions are notes, or with `strict` errors, which decide the exit status. A database that
    cannot be read is part of the answer.
    """
    answers = await read_all_facts(deployment, deployment.selected)
    severity = Severity.ERROR if strict else Severity.NOTE
    heads = several_heads(deployment.graphs.values(), Severity.WARNING)
    checks = (heads, *state_checks(deployment, answers, pending=severity))
    databases = tuple(_database(deployment, name, answer) for name, answer in answers.items())
    return StatusResult("status", checks, databases, folders=folders(deployment))


def _database(deployment: Deployment, name: str, answer: DatabaseFacts | MigrateError) -> DatabaseStatus:
    graph = deployment.forest.graphs[name]
    if isinstance(answer, MigrateError):
        return DatabaseStatus(name, heads=graph.heads, error=answer)
    state, pending = answer.state, pending_revisions(graph, answer)
    return DatabaseStatus(
        name,
        address=answer.address,
        server=state.server_version,
        dbname=state.name,
        role=state.role,
        access="standby" if state.standby else "read-only" if state.read_only else "writable",
        current=state.current,
        heads=graph.heads,
        unknown=tuple(answer.unknown_revisions),
        ahead=is_ahead(graph, answer),
        pending=tuple(graph[key] for key in pending),
        needs=tuple(need for key in pending for need in graph[key].requires),
        holder=str(answer.holder) if answer.holder else None,
        last_run=answer.last_run,
        protection=protection(deployment.databases[name].settings, state),
    )
