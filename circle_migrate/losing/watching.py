"""The catalogues that a plan leaves behind, step by step, seen from within its run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy.util import await_only

from circle_migrate.core.catalog import Key
from circle_migrate.core.plan import Step
from circle_migrate.core.vanished import Address, Catalogue, Outcome, outcome
from circle_migrate.introspect import addresses, capture
from circle_migrate.tracing.recorder import TracingHooks

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.engine import Connection

    from circle_migrate.core.plan import Action, Plan
    from circle_migrate.run import Run
    from circle_migrate.settings import DatabaseSettings


@dataclass(slots=True)
class Watch:
    """What there was in each database before a plan, after each of its steps, and at its end.

    A step that runs again, because it did not get its locks, replaces what was seen of it.
    """

    plan: Plan
    before: dict[str, Catalogue] = field(default_factory=dict)
    after: dict[str, Catalogue] = field(default_factory=dict)
    left: dict[tuple[str, str], frozenset[Address]] = field(default_factory=dict)

    async def begin(self, driver: asyncpg.Connection, settings: DatabaseSettings) -> None:
        """Look at a database before anything has run there."""
        if settings.name not in self.before:
            self.before[settings.name] = await _catalogue(driver, settings)

    async def look(self, driver: asyncpg.Connection, settings: DatabaseSettings, step: str) -> None:
        """Look at a database when one of its steps has run; after the last one, at all of it."""
        name = settings.name
        if step == self.plan.steps(name)[-1].revision.id:
            self.after[name] = await _catalogue(driver, settings)
            found = dict(self.after[name].addresses)
        else:
            found = await _addresses(driver, settings)
        self.left[name, step] = frozenset(found.values())

    def outcome(self, name: str) -> Outcome:
        """What became of a database, as far as it was seen."""
        if name not in self.before:
            return Outcome()
        steps = [
            (step.revision.id, self.left[name, step.revision.id])
            for step in self.plan.steps(name)
            if (name, step.revision.id) in self.left
        ]
        return outcome(self.before[name], steps, self.after.get(name))


class LossHooks(TracingHooks):
    """Watches the catalogues of a run that is traced."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch
        self._run: Run | None = None

    async def prepared(self, run: Run, plan: Plan) -> None:
        """Look at every database before anything of the plan has run."""
        await super().prepared(run, plan)
        self._run = run
        for name in plan.databases:
            await self._watch.begin(run.sessions[name].driver, run.deployment.databases[name].settings)

    def after(self, connection: Connection, action: Action) -> None:
        """Look at what the step has left."""
        super().after(connection, action)
        look_after(self._watch, self._run, action)


def look_after(watch: Watch, run: Run | None, action: Action) -> None:
    """Look from within a run, in the transaction of the step that has just run."""
    if run is not None and isinstance(action, Step):
        settings = run.deployment.databases[action.database].settings
        await_only(watch.look(run.sessions[action.database].driver, settings, action.revision.id))


async def _catalogue(driver: asyncpg.Connection, settings: DatabaseSettings) -> Catalogue:
    table, schema = settings.version_table, settings.version_table_schema
    snapshot = await capture(
        driver, settings.name, "watched", version_table=table, version_table_schema=schema
    )
    return Catalogue(snapshot, await _addresses(driver, settings))


async def _addresses(driver: asyncpg.Connection, settings: DatabaseSettings) -> dict[Key, Address]:
    table, schema = settings.version_table, settings.version_table_schema
    return await addresses(driver, version_table=table, version_table_schema=schema)
