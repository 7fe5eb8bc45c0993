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
from circle_migrate.core.events import Notify, ignore
from circle_migrate.migrate.kept_data import registry
from circle_migrate.migrate.kept_data.entry import Kept, KeptEntries, State
from circle_migrate.migrate.protection import Guard
from circle_migrate.migrate.run import Hooks, Run
from circle_migrate.revision_graph.plan import Action, Plan, plan_without_changes

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.deployment import Deployment

_FEWEST_CHARACTERS = 4
"""Of a run's id, as of a revision's: fewer would name several by accident."""

Agree = Callable[[Sequence[Kept]], None]
"""Shows entries and returns; raises `NotConfirmed` where they are to stay."""


async def listing(deployment: Deployment, *, everything: bool = False) -> KeptEntries:
    """What is kept now; `everything` is also what was restored or dropped. Raises what connecting raises."""
    found = await _all(deployment)
    shown = (each for each in found if everything or each.state is State.KEPT or each.side)
    return KeptEntries("kept list", tuple(shown))


async def restore(deployment: Deployment, names: Sequence[str], *, notify: Notify = ignore) -> KeptEntries:
    """Put entries, or all of a run, back now, as the upgrade over their revision would have.

    Raises `UsageError` for a name of nothing that is kept, `MigrationFailed` where something does not fit,
    and the errors of the executor.
    """
    chosen = _chosen(await _all(deployment), names)
    return await _carry_out(deployment, "kept restore", chosen, _Restoring(chosen), notify)


async def drop(
    deployment: Deployment,
    names: Sequence[str],
    *,
    agree: Agree,
    overridden: Sequence[str] = (),
    notify: Notify = ignore,
) -> KeptEntries:
    """Drop the side tables of entries, or of all of a run, for good, once `agree` has agreed to that.

    Raises `UsageError` for a name of nothing that is there, `Refused` for what protected databases have kept,
    but for those in `overridden`, `NotConfirmed`, and the errors of the executor.
    """
    guard = Guard(deployment, overridden)
    chosen = _chosen(await _all(deployment), names, left_over=True)
    states = await deployment.states()
    guard.refuse_slips(states)
    guard.refuse(states, _databases(deployment, chosen))
    agree(chosen)
    return await _carry_out(deployment, "kept drop", chosen, _Dropping(chosen), notify, guard)


async def _all(deployment: Deployment) -> list[Kept]:
    return [each for name in deployment.selected for each in await registry.read(deployment.databases[name])]


def _chosen(found: Sequence[Kept], names: Sequence[str], *, left_over: bool = False) -> tuple[Kept, ...]:
    """The entries of these ids or runs that are still kept; `left_over` rows of restored ones as well."""
    chosen: dict[str, Kept] = {}
    there = [each for each in found if each.state is State.KEPT or (left_over and each.side)]
    for name in names:
        of_run = len(name) >= _FEWEST_CHARACTERS and "/" not in name
        matching = [each for each in there if each.id == name or (of_run and each.run.startswith(name))]
        if len({each.run for each in matching}) > 1:
            raise UsageError(f"several runs begin with {name!r}", hint="give more of it")
        if not matching:
            raise UsageError(f"nothing is kept under {name!r}", hint="circle-migrate kept list")
        chosen |= {each.id: each for each in matching}
    return tuple(chosen.values())


def _databases(deployment: Deployment, chosen: Sequence[Kept]) -> tuple[str, ...]:
    return tuple(name for name in deployment.databases if any(each.database == name for each in chosen))


async def _carry_out(
    deployment: Deployment,
    command: str,
    chosen: Sequence[Kept],
    hooks: _Settling,
    notify: Notify,
    guard: Guard | None = None,
) -> KeptEntries:
    """A run that leaves every revision as it is, and does its work beside that."""
    from circle_migrate.migrate.executor import Options, apply

    databases = _databases(deployment, chosen)
    planner = partial(plan_without_changes, databases)
    notes: Mapping[str, object] = {"entries": [each.id for each in chosen]}
    options = Options(command, hooks=hooks, guard=guard, notes=notes)
    outcome = await apply(deployment, databases, planner, notify, options)
    ids = {each.id for each in chosen}
    settled = (each for each in await _all(deployment) if each.id in ids)
    return KeptEntries(command, tuple(settled), outcome.run)


@dataclass(slots=True)
class _Settling(Hooks):
    """Does something with the entries of each database, in its transaction."""

    chosen: Sequence[Kept]
    run: Run | None = field(default=None, init=False)

    async def prepared(self, run: Run, plan: Plan) -> None:
        """Under the locks: what was chosen has to be there still."""
        self.run = run
        for name in plan.databases:
            now = {each.id: each for each in await registry.listed(run.sessions[name].driver, name)}
            for each in self.chosen:
                if each.database == name and now.get(each.id) != each:
                    raise Refused(
                        f"{each.id} is not what it was when this began",
                        database=name,
                        state="nothing was changed",
                        hint="circle-migrate kept list",
                    )

    def after(self, connection: Connection, action: Action) -> None:
        """Settle what belongs to the database."""
        mine = [each for each in self.chosen if each.database == action.database]
        if self.run is not None:
            self.settle(self.run, connection, action.database, mine)

    def settle(self, run: Run, connection: Connection, database: str, mine: Sequence[Kept]) -> None:
        """What is to be done with them."""
        raise NotImplementedError


class _Restoring(_Settling):
    def settle(self, run: Run, connection: Connection, database: str, mine: Sequence[Kept]) -> None:
        from circle_migrate.migrate.kept_data.hooks import restore

        restore(run, connection, database, mine)


class _Dropping(_Settling):
    def settle(self, run: Run, connection: Connection, database: str, mine: Sequence[Kept]) -> None:  # noqa: ARG002
        for each in mine:
            registry.settle(
                connection,
                each,
                State.DROPPED if each.state is State.KEPT else each.state,
                restored=each.restored,
                missing=each.missing,
            )
