"""Record the catalogue after the steps of a plan, from within its run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy.util import await_only

from circle_migrate.postgres.catalog.object_ids import object_ids
from circle_migrate.postgres.catalog.read import read_catalog
from circle_migrate.postgres.catalog.snapshot import Address, ObjectKey
from circle_migrate.revision_graph.plan import Step
from circle_migrate.safety.losses.catalog_outcome import Catalogue, catalog_losses
from circle_migrate.safety.trace.recorder import TracingHooks

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.migrate.run import MigrationRun
    from circle_migrate.revision_graph.plan import Action, Plan
    from circle_migrate.safety.losses.report import Loss, LossNamer


@dataclass(slots=True)
class CatalogWatch:
    """The catalogues of databases before and after a plan, and the object addresses after each step.

    A step that runs again, as it did not get its locks, replaces its record.
    """

    plan: Plan
    before: dict[str, Catalogue] = field(default_factory=dict)
    after: dict[str, Catalogue] = field(default_factory=dict)
    remaining: dict[tuple[str, str], frozenset[Address]] = field(default_factory=dict)
    _runs: dict[str, MigrationRun] = field(default_factory=dict)

    async def begin(self, run: MigrationRun, name: str) -> None:
        """Record the catalogue of a database before the plan runs there."""
        self._runs[name] = run
        if name not in self.before:
            self.before[name] = await _catalogue(run, name)

    def record_after_step(self, action: Action) -> None:
        """Record the addresses after a step, within its transaction."""
        if not isinstance(action, Step):
            return
        name, revision = action.database, action.revision.id
        run = self._runs[name]
        if revision == self.plan.steps(name)[-1].revision.id:
            self.after[name] = await_only(_catalogue(run, name))
            addresses = self.after[name].addresses
        else:
            addresses = await_only(_addresses(run, name))
        self.remaining[name, revision] = frozenset(addresses.values())

    def losses(self, namer: LossNamer) -> Iterator[Loss]:
        """Yield the losses of a database in the steps that were recorded."""
        name = namer.database
        revisions = [step.revision.id for step in self.plan.steps(name)]
        steps = [(id_, self.remaining[name, id_]) for id_ in revisions if (name, id_) in self.remaining]
        return catalog_losses(namer, self.before[name], steps, self.after.get(name))


class LossHooks(TracingHooks):
    """Hooks that record the catalogues of a traced run."""

    def __init__(self, watch: CatalogWatch) -> None:
        super().__init__()
        self._watch = watch

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Record every catalogue before the plan runs."""
        await super().before_run(run, plan)
        for name in plan.databases:
            await self._watch.begin(run, name)

    def after_step(self, connection: Connection, action: Action) -> None:
        """Record the catalogue after the step."""
        super().after_step(connection, action)
        self._watch.record_after_step(action)


async def _catalogue(run: MigrationRun, name: str) -> Catalogue:
    settings = run.deployment.databases[name].settings
    snapshot = await read_catalog(
        run.sessions[name].driver,
        name,
        "watched",
        version_table=settings.version_table,
        version_table_schema=settings.version_table_schema,
    )
    return Catalogue(snapshot, await _addresses(run, name))


async def _addresses(run: MigrationRun, name: str) -> dict[ObjectKey, Address]:
    settings = run.deployment.databases[name].settings
    return await object_ids(
        run.sessions[name].driver,
        version_table=settings.version_table,
        version_table_schema=settings.version_table_schema,
    )
