"""`kept`: list, restore and drop the rows that `downgrade --keep` has copied to side tables.

Restore and drop are runs of the executor without steps: under the deployer locks, recorded in the journals,
and with `--atomic` committed on all databases together or on none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.migrate.kept_data import registry
from circle_migrate.migrate.kept_data.registry import KeptEntries, KeptEntry, KeptState
from circle_migrate.migrate.protection import ProtectionGuard
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.revision_graph.plan import Action, Plan, plan_without_changes

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.deployment import Deployment

_MIN_PREFIX = 4
"""Characters of a run id, as of a revision id, that identify the run."""

Confirm = Callable[[Sequence[KeptEntry]], None]
"""Ask whether to drop the entries. Raises `NotConfirmed` if the answer is no."""


async def list_kept(deployment: Deployment, *, everything: bool = False) -> KeptEntries:
    """Return what is kept, with `everything` also what was restored or dropped. Raises `MigrateError`."""
    entries = await _read_all(deployment)
    return KeptEntries(
        "kept list",
        tuple(entry for entry in entries if everything or entry.state is KeptState.KEPT or entry.side_table),
    )


async def restore(
    deployment: Deployment, names: Sequence[str], *, notify: Notify = ignore_event
) -> KeptEntries:
    """Restore entries, or all of a run, as an upgrade does. Raises `UsageError`, `MigrationFailed`."""
    entries = _select(await _read_all(deployment), names)
    return await _execute(deployment, "kept restore", entries, _EntryHooks(entries), notify)


async def drop(
    deployment: Deployment,
    names: Sequence[str],
    *,
    confirm: Confirm,
    overridden: Sequence[str] = (),
    notify: Notify = ignore_event,
) -> KeptEntries:
    """Drop entries, or all of a run, after `confirm` has confirmed it. Raises `UsageError`, `Refused`."""
    guard = ProtectionGuard(deployment, overridden)
    entries = _select(await _read_all(deployment), names, restored=True)
    states = await deployment.states()
    guard.check_override_names(states)
    guard.ensure_unprotected(states, _databases(deployment, entries))
    confirm(entries)
    return await _execute(deployment, "kept drop", entries, _EntryHooks(entries, drop=True), notify, guard)


async def _read_all(deployment: Deployment) -> list[KeptEntry]:
    databases = [deployment.databases[name] for name in deployment.selected]
    return [entry for database in databases for entry in await registry.read_entries(database)]


def _select(
    entries: Sequence[KeptEntry], names: Sequence[str], *, restored: bool = False
) -> tuple[KeptEntry, ...]:
    """Return the kept entries with these ids or run ids, and `restored` ones with a side table."""
    selected: dict[str, KeptEntry] = {}
    candidates = [e for e in entries if e.state is KeptState.KEPT or (restored and e.side_table)]
    for name in names:
        is_run = len(name) >= _MIN_PREFIX and "/" not in name
        matches = [e for e in candidates if e.id == name or (is_run and e.run.startswith(name))]
        if len({entry.run for entry in matches}) > 1:
            raise UsageError(f"several run ids begin with {name!r}", hint="give more characters of the id")
        if not matches:
            raise UsageError(f"nothing is kept under {name!r}", hint="circle-migrate kept list")
        selected |= {entry.id: entry for entry in matches}
    return tuple(selected.values())


def _databases(deployment: Deployment, entries: Sequence[KeptEntry]) -> tuple[str, ...]:
    names = {entry.database for entry in entries}
    return tuple(name for name in deployment.databases if name in names)


async def _execute(
    deployment: Deployment,
    command: str,
    entries: Sequence[KeptEntry],
    hooks: _EntryHooks,
    notify: Notify,
    guard: ProtectionGuard | None = None,
) -> KeptEntries:
    """Run the hooks in a run that changes no revision."""
    from circle_migrate.migrate.executor import RunOptions, execute

    databases = _databases(deployment, entries)
    planner = partial(plan_without_changes, databases)
    ids = [entry.id for entry in entries]
    options = RunOptions(command, hooks=hooks, guard=guard, notes={"entries": ids})
    outcome = await execute(deployment, databases, planner, notify, options)
    current_entries = tuple(entry for entry in await _read_all(deployment) if entry.id in ids)
    return KeptEntries(command, current_entries, outcome.run)


@dataclass(slots=True)
class _EntryHooks(Hooks):
    """Hooks that restore, or with `drop` drop, the entries of each database in its transaction."""

    entries: Sequence[KeptEntry]
    drop: bool = False
    run: MigrationRun | None = field(default=None, init=False)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Raise `Refused` if an entry has changed since it was selected."""
        self.run = run
        for name in plan.databases:
            now = {entry.id: entry for entry in await registry.fetch_entries(run.sessions[name].driver, name)}
            for entry in self.entries:
                if entry.database == name and now.get(entry.id) != entry:
                    raise Refused(
                        f"{entry.id} has changed since the command started",
                        database=name,
                        hint="circle-migrate kept list",
                    )

    def after_step(self, connection: Connection, action: Action) -> None:
        from circle_migrate.migrate.kept_data.hooks import restore_entries

        entries = [entry for entry in self.entries if entry.database == action.database]
        if self.run is not None and not self.drop:
            restore_entries(self.run, connection, action.database, entries)
        for entry in entries if self.drop else ():
            state = KeptState.DROPPED if entry.state is KeptState.KEPT else entry.state
            registry.update_entry(connection, entry, state, restored=entry.restored, missing=entry.missing)
