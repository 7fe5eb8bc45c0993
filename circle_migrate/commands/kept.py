"""What downgrades have kept: listed, put back by hand, dropped.

Putting back and dropping are runs of the executor without a step: under the deployer locks, written in the
journals, committed on all databases together or on none with `--atomic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.core.events import Notify, discard
from circle_migrate.migrate.kept_data import registry
from circle_migrate.migrate.kept_data.entry import KeptEntries, KeptEntry, KeptState
from circle_migrate.migrate.protection import ProtectionGuard
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.revision_graph.plan import Action, Plan, plan_without_changes

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.deployment import Deployment

_FEWEST_CHARACTERS = 4
"""Of a run's id, as of a revision's: fewer would name several by accident."""

Confirm = Callable[[Sequence[KeptEntry]], None]
"""Shows entries and returns; raises `NotConfirmed` where they are to stay."""


async def listing(deployment: Deployment, *, everything: bool = False) -> KeptEntries:
    """What is kept now; `everything` is also what was restored or dropped. Raises what connecting raises."""
    kept_entries = await _all(deployment)
    shown = (
        kept_entry
        for kept_entry in kept_entries
        if everything or kept_entry.state is KeptState.KEPT or kept_entry.side
    )
    return KeptEntries("kept list", tuple(shown))


async def restore(deployment: Deployment, names: Sequence[str], *, notify: Notify = discard) -> KeptEntries:
    """Put entries, or all of a run, back now, as the upgrade over their revision would have.

    Raises `UsageError` for a name of nothing that is kept, `MigrationFailed` where something does not fit,
    and the errors of the executor.
    """
    chosen = _chosen(await _all(deployment), names)
    return await _carry_out(deployment, "kept restore", chosen, _RestoreHooks(chosen), notify)


async def drop(
    deployment: Deployment,
    names: Sequence[str],
    *,
    agree: Confirm,
    overridden: Sequence[str] = (),
    notify: Notify = discard,
) -> KeptEntries:
    """Drop the side tables of entries, or of all of a run, for good, once `agree` has agreed to that.

    Raises `UsageError` for a name of nothing that is there, `Refused` for what protected databases have kept,
    but for those in `overridden`, `NotConfirmed`, and the errors of the executor.
    """
    guard = ProtectionGuard(deployment, overridden)
    chosen = _chosen(await _all(deployment), names, left_over=True)
    states = await deployment.states()
    guard.check_override_names(states)
    guard.ensure_unprotected(states, _databases(deployment, chosen))
    agree(chosen)
    return await _carry_out(deployment, "kept drop", chosen, _DropHooks(chosen), notify, guard)


async def _all(deployment: Deployment) -> list[KeptEntry]:
    return [
        kept_entry
        for name in deployment.selected
        for kept_entry in await registry.read(deployment.databases[name])
    ]


def _chosen(
    kept_entries: Sequence[KeptEntry], names: Sequence[str], *, left_over: bool = False
) -> tuple[KeptEntry, ...]:
    """The entries of these ids or runs that are still kept; `left_over` rows of restored ones as well."""
    chosen: dict[str, KeptEntry] = {}
    there = [
        kept_entry
        for kept_entry in kept_entries
        if kept_entry.state is KeptState.KEPT or (left_over and kept_entry.side)
    ]
    for name in names:
        of_run = len(name) >= _FEWEST_CHARACTERS and "/" not in name
        matching = [
            kept_entry
            for kept_entry in there
            if kept_entry.id == name or (of_run and kept_entry.run.startswith(name))
        ]
        if len({kept_entry.run for kept_entry in matching}) > 1:
            raise UsageError(f"several runs begin with {name!r}", hint="give more of it")
        if not matching:
            raise UsageError(f"nothing is kept under {name!r}", hint="circle-migrate kept list")
        chosen |= {kept_entry.id: kept_entry for kept_entry in matching}
    return tuple(chosen.values())


def _databases(deployment: Deployment, chosen: Sequence[KeptEntry]) -> tuple[str, ...]:
    return tuple(
        name for name in deployment.databases if any(kept_entry.database == name for kept_entry in chosen)
    )


async def _carry_out(
    deployment: Deployment,
    command: str,
    chosen: Sequence[KeptEntry],
    hooks: _EntryHooks,
    notify: Notify,
    guard: ProtectionGuard | None = None,
) -> KeptEntries:
    """A run that leaves every revision as it is, and does its work beside that."""
    from circle_migrate.migrate.executor import RunOptions, execute

    databases = _databases(deployment, chosen)
    planner = partial(plan_without_changes, databases)
    notes: Mapping[str, object] = {"entries": [kept_entry.id for kept_entry in chosen]}
    options = RunOptions(command, hooks=hooks, guard=guard, notes=notes)
    outcome = await execute(deployment, databases, planner, notify, options)
    ids = {kept_entry.id for kept_entry in chosen}
    settled = (kept_entry for kept_entry in await _all(deployment) if kept_entry.id in ids)
    return KeptEntries(command, tuple(settled), outcome.run)


@dataclass(slots=True)
class _EntryHooks(Hooks):
    """Does something with the entries of each database, in its transaction."""

    chosen: Sequence[KeptEntry]
    run: MigrationRun | None = field(default=None, init=False)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Under the locks: what was chosen has to be there still."""
        self.run = run
        for name in plan.databases:
            now = {
                kept_entry.id: kept_entry
                for kept_entry in await registry.listed(run.sessions[name].driver, name)
            }
            for kept_entry in self.chosen:
                if kept_entry.database == name and now.get(kept_entry.id) != kept_entry:
                    raise Refused(
                        f"{kept_entry.id} is not what it was when this began",
                        database=name,
                        state="nothing was changed",
                        hint="circle-migrate kept list",
                    )

    def after_step(self, connection: Connection, action: Action) -> None:
        """Settle what belongs to the database."""
        mine = [kept_entry for kept_entry in self.chosen if kept_entry.database == action.database]
        if self.run is not None:
            self.settle(self.run, connection, action.database, mine)

    def settle(
        self, run: MigrationRun, connection: Connection, database: str, mine: Sequence[KeptEntry]
    ) -> None:
        """What is to be done with them."""
        raise NotImplementedError


class _RestoreHooks(_EntryHooks):
    def settle(
        self, run: MigrationRun, connection: Connection, database: str, mine: Sequence[KeptEntry]
    ) -> None:
        from circle_migrate.migrate.kept_data.hooks import restore

        restore(run, connection, database, mine)


class _DropHooks(_EntryHooks):
    def settle(
        self, run: MigrationRun, connection: Connection, database: str, mine: Sequence[KeptEntry]
    ) -> None:
        for kept_entry in mine:
            registry.update_entry(
                connection,
                kept_entry,
                KeptState.DROPPED if kept_entry.state is KeptState.KEPT else kept_entry.state,
                restored=kept_entry.restored,
                missing=kept_entry.missing,
            )
