"""`status`: show the state of all databases."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from circle_migrate.commands.checks.database_checks import pending_revisions, single_head, state_checks
from circle_migrate.commands.checks.database_facts import DatabaseFacts, is_ahead, read_all_facts
from circle_migrate.core.errors import MigrateError
from circle_migrate.core.findings import Report, Severity
from circle_migrate.core.result import json_fields
from circle_migrate.migrate.active_run import ActiveRun, active_run
from circle_migrate.migrate.journal_rows import JournalRun
from circle_migrate.migrate.protection import protection
from circle_migrate.postgres.deployment import Deployment, revision_folders
from circle_migrate.postgres.journal_tables import Protection
from circle_migrate.revision_graph.revision import Revision


class DatabaseStatus(NamedTuple):
    """The state of one database; only `heads` is set besides `error`, the error of reading it.

    `access` is writable, read-only or standby. `unknown` are current revisions that the tree lacks; then
    `pending` is empty, and `ahead` says whether the heads of the tree are applied. `requires` has revisions
    of other databases that pending revisions require, `lock_holder` has the deployer lock, `running` is its
    run, `protection` refuses downgrades. `seconds` is the time that reading the database took, None with an
    error.
    """

    database: str
    address: str = ""
    server_version: str = ""
    dbname: str = ""
    role: str = ""
    access: str = ""
    current: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    ahead: bool = False
    pending: tuple[Revision, ...] = ()
    requires: tuple[str, ...] = ()
    lock_holder: str | None = None
    running: ActiveRun | None = None
    last_run: JournalRun | None = None
    protection: Protection | None = None
    error: MigrateError | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON."""
        last = self.last_run
        run = json_fields(last, "run command outcome started_at ended_at") if last else {}
        return {
            "address": self.address or None,
            "server_version": self.server_version or None,
            "database": self.dbname or None,
            "role": self.role or None,
            "access": self.access or None,
            **json_fields(self, "current heads unknown ahead pending requires lock_holder running"),
            "last_run": run | {"by": f"{last.os_user}@{last.host}"} if last else None,
            **json_fields(self, "protection error"),
        }


@dataclass(frozen=True, slots=True)
class StatusResult(Report):
    """The state of all databases, the checks of it, and the environment whose settings hold."""

    databases: tuple[DatabaseStatus, ...] = ()
    environment: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the checks, and one object per database."""
        databases = {status.database: status.to_dict() for status in self.databases}
        # Zero-argument super() does not work in a dataclass with slots.
        return Report.to_dict(self) | {"environment": self.environment, "databases": databases}


async def status(deployment: Deployment, *, strict: bool = False, limit: float | None = None) -> StatusResult:
    """Return the state of the selected databases, without writing to them.

    Pending revisions are notes, with `strict` errors, which decide the exit status. A database that cannot
    be read, also within `limit` seconds, has its error in the result.
    """
    facts_or_error = await read_all_facts(deployment, limit)
    severity = Severity.ERROR if strict else Severity.NOTE
    heads = single_head(deployment, Severity.WARNING)
    checks = (heads, *state_checks(deployment, facts_or_error, pending=severity))
    databases = tuple(_describe(deployment, name, facts) for name, facts in facts_or_error.items())
    folders, environment = revision_folders(deployment), deployment.settings.env
    return StatusResult("status", checks, databases, environment, folders=folders)


def _describe(deployment: Deployment, name: str, facts: DatabaseFacts | MigrateError) -> DatabaseStatus:
    graph = deployment.combined_graph.graphs[name]
    if isinstance(facts, MigrateError):
        return DatabaseStatus(name, heads=graph.heads, error=facts)
    state, pending = facts.state, pending_revisions(graph, facts)
    return DatabaseStatus(
        name,
        address=facts.address,
        server_version=state.server_version,
        dbname=state.name,
        role=state.role,
        access="standby" if state.standby else "read-only" if state.read_only else "writable",
        current=state.current,
        heads=graph.heads,
        unknown=tuple(facts.unknown_revisions),
        ahead=is_ahead(graph, facts),
        pending=tuple(graph[key] for key in pending),
        requires=tuple(need for key in pending for need in graph[key].requires),
        lock_holder=str(facts.holder) if facts.holder else None,
        running=active_run(facts.holder, facts.last_run),
        last_run=facts.last_run,
        protection=protection(deployment.databases[name].settings, state),
        seconds=facts.seconds,
    )
