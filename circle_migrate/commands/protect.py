"""`protect` and `unprotect`: the marker in a database that refuses downgrades.

The marker is a row in a table beside the journal: dumps contain it, and every role can read it. A run of the
executor without steps writes or removes it, under the deployer locks, and records that in the journals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from circle_migrate.core.errors import Refused
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.core.result import Result, json_fields
from circle_migrate.migrate.guards import verify_identity
from circle_migrate.migrate.protection import ProtectionGuard, remove_marker, write_marker
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.journal_tables import Protection, ProtectionMarker
from circle_migrate.revision_graph.plan import Action, Plan, plan_without_changes

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.deployment import Deployment

Confirm = Callable[[str, ProtectionMarker], None]
"""Ask whether to remove the marker of a database. Raises `NotConfirmed` if the answer is no."""


@dataclass(frozen=True, slots=True)
class ProtectionResult(Result):
    """The protection of each database, None for an unprotected one; `run`, if it was changed."""

    databases: Mapping[str, Protection | None]
    run: str | None = None
    changed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the protection of each database, and the databases whose marker was changed."""
        return json_fields(self, "run changed databases")


async def protect(
    deployment: Deployment, reason: str | None = None, notify: Notify = ignore_event
) -> ProtectionResult:
    """Write the marker of the selected databases; one that exists gets the new reason, if there is one."""
    states = await deployment.states()
    verify_identity(deployment, states)
    names = tuple(name for name, state in states.items() if reason or state.marker is None)
    return await _execute(deployment, "protect", names, _ProtectHooks(reason), {"reason": reason}, notify)


async def unprotect(
    deployment: Deployment, confirm: Confirm, notify: Notify = ignore_event
) -> ProtectionResult:
    """Remove each marker after `confirm` has confirmed it. Raises `Refused` if it is missing or changed."""
    states = await deployment.states()
    verify_identity(deployment, states)
    for name, protection in ProtectionGuard(deployment).protections(states).items():
        if protection.marker is None:
            raise Refused(
                f"{name} has no marker: it is protected {protection.description}",
                database=name,
                hint="change the setting; to see its source: circle-migrate config show",
            )
    markers = {name: state.marker for name, state in states.items() if state.marker}
    for name, marker in markers.items():
        confirm(name, marker)
    notes = {"lifted": {name: marker.to_dict() for name, marker in markers.items()}}
    return await _execute(deployment, "unprotect", tuple(markers), _UnprotectHooks(markers), notes, notify)


async def _execute(
    deployment: Deployment,
    command: str,
    databases: Sequence[str],
    hooks: Hooks,
    notes: Mapping[str, object],
    notify: Notify,
) -> ProtectionResult:
    """Run the hooks in a run that changes no revision."""
    run = None
    if databases:
        from circle_migrate.migrate.executor import RunOptions, execute

        planner = partial(plan_without_changes, databases)
        options = RunOptions(command, hooks=hooks, notes=notes)
        run = (await execute(deployment, tuple(databases), planner, notify, options)).run
    protections = ProtectionGuard(deployment).protections(await deployment.states())
    by_database = {name: protections.get(name) for name in deployment.selected}
    return ProtectionResult(command, by_database, run, tuple(databases))


@dataclass(slots=True)
class _ProtectHooks(Hooks):
    """Hooks that write the marker of each database in its transaction."""

    reason: str | None
    schemas: dict[str, str] = field(default_factory=dict, init=False)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Select the databases under the locks: another deployer may have written a marker."""
        names = (name for name in plan.databases if self.reason or run.states[name].marker is None)
        self.schemas = {name: run.states[name].journal_schema for name in names}

    def after_step(self, connection: Connection, action: Action) -> None:
        if action.database in self.schemas:
            write_marker(connection, self.schemas[action.database], self.reason)


@dataclass(slots=True)
class _UnprotectHooks(Hooks):
    """Hooks that remove the marker of each database in its transaction."""

    confirmed: Mapping[str, ProtectionMarker]
    schemas: dict[str, str] = field(default_factory=dict, init=False)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Raise `Refused` if a marker has changed since it was confirmed."""
        self.schemas = {name: run.states[name].journal_schema for name in plan.databases}
        for name in plan.databases:
            if run.states[name].marker != self.confirmed[name]:
                raise Refused(
                    f"the marker of {name} has changed since it was shown",
                    database=name,
                    hint="circle-migrate status",
                )

    def after_step(self, connection: Connection, action: Action) -> None:
        remove_marker(connection, self.schemas[action.database])
