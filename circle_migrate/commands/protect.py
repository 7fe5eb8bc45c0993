"""Protect and unprotect: the marker in a database that keeps it from being moved back.

The marker is a row in a table beside the version table: it goes where the database goes, a dump and its
restore among them, and whoever may use the schema can read it. A run of the executor without a step writes or
removes it: under the deployer locks, so that no run overlooks it, and noted in the journals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.commands.protect_result import ProtectionResult
from circle_migrate.core.errors import Refused
from circle_migrate.core.events import Notify, discard
from circle_migrate.migrate.identity import verify_identity
from circle_migrate.migrate.protection import ProtectionGuard, mark, unmark
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.protection_marker import ProtectionMarker
from circle_migrate.revision_graph.plan import Action, Plan, plan_without_changes

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.deployment import Deployment

Confirm = Callable[[str, ProtectionMarker], None]
"""Shows a database's marker and returns; raises `NotConfirmed` where it is to stay."""


async def protect(
    deployment: Deployment, reason: str | None = None, notify: Notify = discard
) -> ProtectionResult:
    """Put a marker into the selected databases, or give the one that is there another reason.

    Without a reason a marker that is there stays as it is. Raises the errors of the executor.
    """
    states = await deployment.states()
    verify_identity(deployment, states)
    chosen = tuple(name for name, state in states.items() if reason or state.marker is None)
    return await _carry_out(deployment, "protect", chosen, _ProtectHooks(reason), {"reason": reason}, notify)


async def unprotect(deployment: Deployment, agree: Confirm, notify: Notify = discard) -> ProtectionResult:
    """Remove the markers of the selected databases, each once `agree` has agreed to that.

    Raises `Refused` where a setting alone protects, or a marker is another one by then, `NotConfirmed`, and
    the errors of the executor.
    """
    states = await deployment.states()
    verify_identity(deployment, states)
    for name, protection in ProtectionGuard(deployment).protections(states).items():
        if protection.marker is None:
            raise Refused(
                f"{name} has no marker: it is protected {protection.description}",
                database=name,
                state="nothing was changed",
                hint="change it there; `circle-migrate config show` says where every setting stands",
            )
    markers = {name: state.marker for name, state in states.items() if state.marker}
    for name, marker in markers.items():
        agree(name, marker)
    notes = {"lifted": {name: marker.to_dict() for name, marker in markers.items()}}
    return await _carry_out(deployment, "unprotect", tuple(markers), _UnprotectHooks(markers), notes, notify)


async def _carry_out(
    deployment: Deployment,
    command: str,
    databases: Sequence[str],
    hooks: Hooks,
    notes: Mapping[str, object],
    notify: Notify,
) -> ProtectionResult:
    """A run that leaves every revision as it is, and changes markers beside that."""
    run = None
    if databases:
        from circle_migrate.migrate.executor import RunOptions, execute

        planner = partial(plan_without_changes, databases)
        options = RunOptions(command, hooks=hooks, notes=notes)
        run = (await execute(deployment, tuple(databases), planner, notify, options)).run
    found = ProtectionGuard(deployment).protections(await deployment.states())
    left = {name: found.get(name) for name in deployment.selected}
    return ProtectionResult(command, left, run, tuple(databases))


@dataclass(slots=True)
class _ProtectHooks(Hooks):
    """Writes the marker of each database, in its transaction."""

    reason: str | None
    schemas: dict[str, str] = field(default_factory=dict, init=False)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Under the locks: without a reason somebody else's marker stays, had it only just been written."""
        unmarked = (name for name in plan.databases if self.reason or run.states[name].marker is None)
        self.schemas = {name: run.states[name].schema for name in unmarked}

    def after_step(self, connection: Connection, action: Action) -> None:
        if action.database in self.schemas:
            mark(connection, self.schemas[action.database], self.reason)


@dataclass(slots=True)
class _UnprotectHooks(Hooks):
    """Removes the marker of each database, in its transaction."""

    agreed: Mapping[str, ProtectionMarker]
    schemas: dict[str, str] = field(default_factory=dict, init=False)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Under the locks: what was agreed to has to be there still."""
        self.schemas = {name: run.states[name].schema for name in plan.databases}
        for name in plan.databases:
            if run.states[name].marker != self.agreed[name]:
                raise Refused(
                    f"the marker of {name} is not the one that was shown",
                    database=name,
                    state="nothing was changed",
                    hint="circle-migrate status",
                )

    def after_step(self, connection: Connection, action: Action) -> None:
        unmark(connection, self.schemas[action.database])
