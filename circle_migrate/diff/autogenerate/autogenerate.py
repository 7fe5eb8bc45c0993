"""Revisions from the models: one for each database whose models have changed.

The models are compared with what the revisions make, in scratch databases: a revision has to do what is
between the two, whatever somebody has done to a live database, which is only asked where it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from circle_migrate.config.metadata import load_models
from circle_migrate.core.errors import MigrateError, Refused
from circle_migrate.core.findings import Severity
from circle_migrate.diff.autogenerate.position import Placement, new_revision
from circle_migrate.diff.autogenerate.proposal import ModelDiff, Proposal, compared, propose
from circle_migrate.diff.autogenerate.result import RevisionFilesResult
from circle_migrate.diff.autogenerate.revision_file import RevisionFile, write
from circle_migrate.diff.compare import CompareOptions, Profile
from circle_migrate.diff.ddl.statement import HazardTexts
from circle_migrate.diff.describe import counted
from circle_migrate.diff.expected.build import at_revisions
from circle_migrate.diff.expected.expected import expected
from circle_migrate.diff.scope import Models
from circle_migrate.migrate.identity import verify_identity
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database, State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.postgres.scratch.providers import nearest, no_server
from circle_migrate.revision_graph.graph import Graph


async def autogenerate(
    deployment: Deployment, message: str, position: Placement, hazards: HazardTexts
) -> RevisionFilesResult:
    """Write a revision for each selected database whose models have changed; nothing where none has.

    A database with an address must be at head; one without is compared by its files alone. Nothing is
    written before all have been compared. Raises `Refused` where a database is not at head, `SettingsError`
    where models cannot be loaded or there is no server for scratch databases.
    """
    states = await _states(deployment)
    drafts: list[RevisionFile] = []
    unchanged: list[str] = []
    notes: list[str] = []
    async with ScratchServers(deployment) as servers:
        for name in deployment.selected:
            task = await _Task.of(deployment, name, servers, states.get(name))
            proposal = await task.proposal(hazards)
            notes += [f"{name}: {note}" async for note in task.notes()]
            notes += [f"{name}: {note}" for note in _left(proposal)]
            if proposal is None:
                unchanged.append(name)
            else:
                drafts.append(proposal.of(new_revision(deployment, name, message, position)))
    return RevisionFilesResult("revision", tuple(map(write, drafts)), tuple(unchanged), tuple(notes))


async def _states(deployment: Deployment) -> dict[str, State]:
    """The states of the databases with an address. Raises `Refused` for one that is behind."""
    graphs = deployment.graphs
    for graph in graphs.values():
        graph.head()
    located = [name for name in deployment.selected if deployment.databases[name].settings.url is not None]
    states = await deployment.states(located) if located else {}
    for name, current in verify_identity(deployment, states).items():
        _refuse_behind(graphs[name], current)
    return states


def _refuse_behind(graph: Graph, current: tuple[str, ...]) -> None:
    pending = graph.ancestors(graph.effective_heads) - graph.ancestors(current)
    if pending:
        raise Refused(
            f"{graph.database} is {counted({'revision': len(pending)})} behind; "
            "what is pending should be applied before more is written",
            database=graph.database,
            state="nothing was written",
            hint="`circle-migrate upgrade` first; or leave its URL out, to compare the files alone",
        )


@dataclass(frozen=True, slots=True)
class _Task:
    """One database. `alone` selects no other; `head` is what its revisions make, on PostgreSQL `major`."""

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
        """The task, in the PostgreSQL version of the live database or in what comes nearest."""
        alone = Deployment(deployment.settings, name)
        live_major = () if live is None else (live.server_version_num // 10000,)
        majors = await servers.majors(name, *live_major)
        if not majors and live is None:
            raise no_server(f"{name}: what its revisions make cannot be known: ")
        (wanted,) = live_major or majors[:1]
        major = nearest(majors, wanted) or wanted
        database = alone.databases[name]
        head = await expected(alone, name, database.graph.effective_heads, major, servers=servers)
        return cls(alone, database, servers, live, major, head.snapshot)

    async def proposal(self, hazards: HazardTexts) -> Proposal | None:
        """What a revision has to do; None where there is nothing to do."""
        metadata = load_models(self.database.settings)
        models = await expected(self.alone, self.database.name, None, self.major, servers=self.servers)
        options = replace(self._options, models=Models.AFTER)
        return await propose(ModelDiff(self.head, models.snapshot, metadata, options, hazards), self._place)

    async def notes(self) -> AsyncIterator[str]:
        """What to know of the live database before the revision runs there."""
        if self.live is None:
            unset = self.database.settings.url_variable
            yield f"its live database was not asked where it is, as {unset} is not set"
            return
        if self.live.server_version_num // 10000 != self.head.major:
            yield (
                f"worked out with PostgreSQL {self.head.major}, as there is no server for scratch databases "
                f"of version {self.live.server_version_num // 10000}"
            )
        try:
            live = await read_live_catalog(self.database)
            drift = await compared(self.head, live, self._options, self._place)
        except MigrateError as error:
            yield f"whether its live database is what its revisions made is not known: {error.message}"
            return
        count = sum(difference.severity is Severity.ERROR for difference in drift.differences)
        if count:
            yield (
                f"its live database is not what its revisions made, in {counted({'object': count})}; that is "
                f"in no revision: circle-migrate diff --database {self.database.name}"
            )

    @property
    def _options(self) -> CompareOptions:
        profile = Profile(self.database.settings.profile)
        return CompareOptions(profile, ignore=self.alone.settings.diff_ignore)

    def _place(self) -> AbstractAsyncContextManager[Database]:
        return at_revisions(self.alone, self.servers, self.database.graph.effective_heads, self.major)


def _left(proposal: Proposal | None) -> Iterator[str]:
    if proposal is None:
        return
    for function, left in (("upgrade", proposal.upgrade_gaps), ("downgrade", proposal.downgrade_gaps)):
        for words in left:
            yield f"{function}() of the new revision leaves {words}"
