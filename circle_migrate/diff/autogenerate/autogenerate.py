"""Create a revision for each database whose models have changed.

The models are compared with the catalog that the revisions create in scratch databases. The new revision does
not depend on the live database; notes report its drift.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from circle_migrate.config.object_reference import load_models
from circle_migrate.core.errors import MigrateError, Refused
from circle_migrate.core.findings import Severity
from circle_migrate.diff.autogenerate.proposal import ModelDiff, Proposal, compared, propose
from circle_migrate.diff.autogenerate.revision_file import (
    Placement,
    RevisionFile,
    RevisionFilesResult,
    new_revision,
    write,
)
from circle_migrate.diff.compare import CompareOptions
from circle_migrate.diff.ddl.statement import HazardTexts
from circle_migrate.diff.describe import format_counts
from circle_migrate.diff.expected.expected import at_revisions, expected
from circle_migrate.diff.scope import Models
from circle_migrate.migrate.guards import verify_identity
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database, State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.pool import ScratchServers, nearest, no_server_error


async def autogenerate(
    deployment: Deployment, message: str, position: Placement, hazards: HazardTexts
) -> RevisionFilesResult:
    """Write a revision for each selected database whose models have changed.

    A database with a URL must be at head; without a URL, only the files are compared. Files are written after
    all comparisons. Raises `Refused` if a database is not at head, `SettingsError` if models cannot be loaded
    or there is no server for scratch databases.
    """
    states = await _states(deployment)
    drafts: list[RevisionFile] = []
    unchanged: list[str] = []
    notes: list[str] = []
    failed: list[str] = []
    async with ScratchServers(deployment) as servers:
        for name in deployment.selected:
            task = await _Task.of(deployment, name, servers, states.get(name))
            proposal = await task.proposal(hazards)
            notes += [f"{name}: {note}" async for note in task.notes()]
            if proposal is None:
                unchanged.append(name)
                continue
            notes += [f"{name}: {note}" for note in proposal.notes()]
            failed += [name] if proposal.fails else []
            drafts.append(proposal.fill(new_revision(deployment, name, message, position)))
    revisions = tuple(map(write, drafts))
    return RevisionFilesResult("revision", revisions, tuple(unchanged), tuple(notes), tuple(failed))


async def _states(deployment: Deployment) -> dict[str, State]:
    """Return the states of the databases with a URL. Raises `Refused` if one has pending revisions."""
    graphs = deployment.graphs
    for graph in graphs.values():
        graph.head()
    located = [name for name in deployment.selected if deployment.databases[name].settings.url is not None]
    states = await deployment.states(located) if located else {}
    for name, current in verify_identity(deployment, states).items():
        pending = graphs[name].pending(current)
        if pending:
            message = f"database {name} has {format_counts({'pending revision': len(pending)})}"
            hint = "Run circle-migrate upgrade first, or unset the database's URL to compare the files only."
            raise Refused(message, database=name, state="nothing was written", hint=hint)
    return states


@dataclass(frozen=True, slots=True)
class _Task:
    """One database; `alone` selects it only, `head` is the catalog of its revisions on PostgreSQL `major`."""

    alone: Deployment
    database: Database
    servers: ScratchServers
    live: State | None
    major: int
    head: Snapshot

    @classmethod
    async def of(
        cls, deployment: Deployment, name: str, servers: ScratchServers, live: State | None
    ) -> _Task:
        """Return the task for the PostgreSQL version of the live database, or the nearest available."""
        alone = Deployment(deployment.settings, name)
        live_major = () if live is None else (live.server_version_num // 10000,)
        majors = await servers.majors(name, *live_major)
        if not majors and live is None:
            raise no_server_error(f"{name}: the catalog of its revisions is not available: ")
        (preferred,) = live_major or majors[:1]
        major = nearest(majors, preferred) or preferred
        database = alone.databases[name]
        head = await expected(alone, name, database.graph.effective_heads, major, servers=servers)
        return cls(alone, database, servers, live, major, head.snapshot)

    async def proposal(self, hazards: HazardTexts) -> Proposal | None:
        """Return the content of the new revision; None if nothing has changed."""
        metadata = load_models(self.database.settings)
        models = await expected(self.alone, self.database.name, None, self.major, servers=self.servers)
        options = replace(self._options, models=Models.AFTER)
        goal = ModelDiff(self.head, models.snapshot, metadata, options, hazards, self._open_scratch)
        return await propose(goal)

    async def notes(self) -> AsyncIterator[str]:
        """Yield notes about the live database."""
        if self.live is None:
            variable = self.database.settings.url_variable
            yield f"the live database was not checked, because {variable} is not set"
            return
        live_major = self.live.server_version_num // 10000
        if live_major != self.head.major:
            yield (
                f"the revision was created with PostgreSQL {self.head.major}, because there is no server for "
                f"scratch databases of version {live_major}"
            )
        try:
            live = await read_live_catalog(self.database)
            drift = await compared(self.head, live, self._options, self._open_scratch)
        except MigrateError as error:
            yield f"the live database could not be compared with its revisions: {error.message}"
            return
        count = sum(difference.severity is Severity.ERROR for difference in drift.differences)
        if count:
            yield (
                f"the live database differs from its revisions in {format_counts({'object': count})}, and "
                f"the new revision does not change that: circle-migrate diff --database {self.database.name}"
            )

    @property
    def _options(self) -> CompareOptions:
        return CompareOptions(self.database.settings.profile, ignore=self.alone.settings.diff_ignore)

    def _open_scratch(self) -> AbstractAsyncContextManager[Database]:
        return at_revisions(self.alone, self.servers, self.database.graph.effective_heads, self.major)
