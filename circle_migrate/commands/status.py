"""`status`: show the state of all databases."""

from __future__ import annotations

from circle_migrate.commands.checks.database_checks import pending_revisions, single_head, state_checks
from circle_migrate.commands.checks.database_facts import DatabaseFacts, read_all_facts
from circle_migrate.commands.checks.unknown_revision import is_ahead
from circle_migrate.commands.status_result import DatabaseStatus, StatusResult
from circle_migrate.core.errors import MigrateError
from circle_migrate.core.findings import Severity
from circle_migrate.migrate.protection import protection
from circle_migrate.postgres.deployment import Deployment, revision_folders


async def status(deployment: Deployment, *, strict: bool = False) -> StatusResult:
    """Return the state of the selected databases, without writing to them.

    Pending revisions are notes, with `strict` errors, which decide the exit status. A database that cannot
    be read has its error in the result.
    """
    facts_or_error = await read_all_facts(deployment, deployment.selected)
    severity = Severity.ERROR if strict else Severity.NOTE
    heads = single_head(deployment, Severity.WARNING)
    checks = (heads, *state_checks(deployment, facts_or_error, pending=severity))
    databases = tuple(_describe(deployment, name, facts) for name, facts in facts_or_error.items())
    return StatusResult("status", checks, databases, folders=revision_folders(deployment))


def _describe(deployment: Deployment, name: str, facts: DatabaseFacts | MigrateError) -> DatabaseStatus:
    graph = deployment.forest.graphs[name]
    if isinstance(facts, MigrateError):
        return DatabaseStatus(name, heads=graph.heads, error=facts)
    state, pending = facts.state, pending_revisions(graph, facts)
    return DatabaseStatus(
        name,
        address=facts.address,
        server=state.server_version,
        dbname=state.name,
        role=state.role,
        access="standby" if state.standby else "read-only" if state.read_only else "writable",
        current=state.current,
        heads=graph.heads,
        unknown=tuple(facts.unknown_revisions),
        ahead=is_ahead(graph, facts),
        pending=tuple(graph[key] for key in pending),
        needs=tuple(need for key in pending for need in graph[key].requires),
        holder=str(facts.holder) if facts.holder else None,
        last_run=facts.last_run,
        protection=protection(deployment.databases[name].settings, state),
    )
