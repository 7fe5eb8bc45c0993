"""`upgrade` and `init`: apply pending revisions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Unreachable
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.migrate.guards import ensure_not_in_doubt, verify_identity
from circle_migrate.migrate.half_done import ensure_not_half_undone
from circle_migrate.migrate.planner import Planner, ensure_no_new_steps
from circle_migrate.migrate.result import MigrationResult
from circle_migrate.migrate.unknown_relations import ensure_not_foreign
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction

if TYPE_CHECKING:
    from circle_migrate.commands.plan import SavedPlan
    from circle_migrate.safety.gate import Gate


async def upgrade(
    deployment: Deployment,
    targets: Sequence[str] = ("head",),
    *,
    dry_run: bool = False,
    into_existing: bool = False,
    allow_edited: bool = False,
    saved: SavedPlan | None = None,
    gate: Gate | None = None,
    restore_kept: bool = True,
    notify: Notify = ignore_event,
) -> MigrationResult:
    """Upgrade the databases to the targets; `dry_run` only plans.

    A `saved` plan must equal the plan of this run. A `gate` assesses the pending revisions before the locks
    are taken. If nothing is pending, no lock is taken and Alembic is not imported. `restore_kept` restores
    the rows that downgrades of these revisions have kept. Unless `into_existing` allows it, a database that
    looks like another application's is refused.
    """
    targets = targets or ("head",)
    guards = (saved.guard(deployment),) if saved else ()
    planner = Planner(deployment, targets, Direction.UP, guards=guards)
    names = deployment.reachable_databases(Direction.UP)
    states = await deployment.states(names)
    plan = planner(verify_identity(deployment, states))
    ensure_not_half_undone(deployment.combined_graph.graphs, states, plan)
    if not into_existing:
        await ensure_not_foreign(deployment, states, plan)
    if dry_run:
        ensure_not_in_doubt(states)
    if dry_run or not (plan or any(state.in_doubt for state in states.values())):
        names_by_database = await tables(deployment) if deployment.settings.embedded and not dry_run else {}
        return MigrationResult(
            "upgrade", plan, deployment.commit_mode, dry_run=dry_run, tables=names_by_database
        )

    from circle_migrate.migrate.executor import RunOptions, execute
    from circle_migrate.migrate.kept_data.hooks import RestoreKeptHooks

    hooks = RestoreKeptHooks(wanted=restore_kept)
    notes: dict[str, object] = {}
    if gate is not None and plan and not any(state.in_doubt for state in states.values()):
        notes = await gate.check(plan, states)
        if gate.required:
            planner = planner.guarded(partial(ensure_no_new_steps, plan))
    options = RunOptions("upgrade", allow_edited=allow_edited, hooks=hooks, notes=notes)
    outcome = await execute(deployment, names, planner, notify, options)
    present: dict[str, tuple[str, ...]] = {}
    remarks: tuple[str, ...] = ()
    try:
        present = await tables(deployment)
    except Unreachable as error:
        remarks = (f"everything was committed; the tables cannot be listed: {error.message}",)
    return MigrationResult(
        "upgrade",
        outcome.plan,
        deployment.commit_mode,
        run=outcome.run,
        seconds=tuple(applied.seconds for applied in outcome.applied),
        tables=present,
        kept=hooks.restored,
        notes=(*outcome.warnings, *remarks),
    )


async def initialise(
    deployment: Deployment, created: tuple[str, ...], notify: Notify = ignore_event
) -> MigrationResult:
    """Upgrade to head after the databases `created` were created."""
    return replace(await upgrade(deployment, notify=notify), command="init", created=created)


async def tables(deployment: Deployment) -> dict[str, tuple[str, ...]]:
    """Return the names of the tables of each database."""
    names = deployment.selected
    tables = await asyncio.gather(*(deployment.databases[name].tables() for name in names))
    return dict(zip(names, tables, strict=True))
