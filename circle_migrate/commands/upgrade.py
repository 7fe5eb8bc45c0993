"""`upgrade` and `init`: apply pending revisions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.core.errors import AuthenticationFailed, Unreachable
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.migrate.guards import ensure_not_in_doubt, ensure_own_tables, verify_identity
from circle_migrate.migrate.half_done import ensure_not_half_undone
from circle_migrate.migrate.planner import Planner, ensure_no_new_steps
from circle_migrate.migrate.result import MigrationResult, plan_settings
from circle_migrate.migrate.unknown_relations import ensure_not_foreign, indistinct_databases
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction

if TYPE_CHECKING:
    from circle_migrate.commands.plan import SavedPlan
    from circle_migrate.safety.gate import SafetyGate


async def upgrade(
    deployment: Deployment,
    targets: Sequence[str] = ("head",),
    *,
    dry_run: bool = False,
    into_existing: bool = False,
    allow_edited: bool = False,
    saved_plan: SavedPlan | None = None,
    gate: SafetyGate | None = None,
    restore_kept: bool = True,
    notify: Notify = ignore_event,
) -> MigrationResult:
    """Upgrade the databases to the targets; `dry_run` only plans.

    The `saved_plan` must equal the plan of this run. A `gate` assesses the pending revisions before the locks
    are taken. If nothing is pending, no lock is taken and Alembic is not imported. `restore_kept` restores
    the rows that downgrades of these revisions have kept. Unless `into_existing` allows it, a database that
    looks like another application's is refused. Raises `SchemaChanged` as the setting `drift` says.
    """
    targets = targets or ("head",)
    guards = (saved_plan.guard(deployment),) if saved_plan else ()
    planner = Planner(deployment, targets, Direction.UP, guards=guards)
    names = deployment.planned_databases(Direction.UP)
    states = await deployment.states(names)
    current = verify_identity(deployment, states)
    ensure_own_tables(states, reading=True)
    plan = planner(current)
    ensure_not_half_undone(deployment.combined_graph.graphs, states, plan)
    if not into_existing:
        await ensure_not_foreign(deployment, states, plan)
    if dry_run:
        ensure_not_in_doubt(states)
    table_names: dict[str, tuple[str, ...]] = {}
    if not plan and (dry_run or not any(state.in_doubt for state in states.values())):
        if deployment.settings.embedded and not dry_run:
            table_names = await tables(deployment)
        return MigrationResult(
            "upgrade", plan, **plan_settings(deployment), dry_run=dry_run, tables=table_names
        )

    from circle_migrate.commands.drift import DriftGate

    drift_gate = DriftGate(deployment)
    notes = [*await drift_gate.check(plan, states), *indistinct_databases(deployment, states, plan)]
    if saved_plan is not None:
        saved_plan.ensure_same_schemas(drift_gate.changed)
    if dry_run:
        return MigrationResult("upgrade", plan, **plan_settings(deployment), dry_run=True, notes=tuple(notes))

    journal_notes: dict[str, object] = {}
    if gate is not None and plan and not any(state.in_doubt for state in states.values()):
        journal_notes = await gate.check(plan, states)
        if gate.required:
            planner = planner.guarded(partial(ensure_no_new_steps, plan))
    # Alembic is imported after the gate, which imports it while a scratch server starts.
    from circle_migrate.migrate.executor import RunOptions, execute
    from circle_migrate.migrate.kept_data.hooks import RestoreKeptHooks

    hooks = RestoreKeptHooks(wanted=restore_kept)
    options = RunOptions(
        "upgrade",
        allow_edited=allow_edited,
        hooks=hooks,
        notes=journal_notes,
        assess_drift=drift_gate.assess,
    )
    outcome = await execute(deployment, names, planner, notify, options)
    notes = [*indistinct_databases(deployment, states, outcome.plan)]
    try:
        table_names = await tables(deployment)
    except (AuthenticationFailed, Unreachable) as error:
        notes.append(f"everything was committed; the tables cannot be listed: {error.message}")
    return MigrationResult(
        "upgrade",
        outcome.plan,
        **plan_settings(deployment),
        run=outcome.run,
        seconds=tuple(applied.seconds for applied in outcome.applied),
        tables=table_names,
        kept=hooks.counts,
        notes=tuple(notes),
        warnings=outcome.warnings,
    )


async def initialise(
    deployment: Deployment,
    created: tuple[str, ...],
    notify: Notify = ignore_event,
    *,
    into_existing: bool = False,
) -> MigrationResult:
    """Upgrade to head after the databases `created` were created."""
    result = await upgrade(deployment, into_existing=into_existing, notify=notify)
    return replace(result, command="init", created=created)


async def tables(deployment: Deployment) -> dict[str, tuple[str, ...]]:
    """Return the names of the tables of each database."""
    names = deployment.selected
    tables = await asyncio.gather(*(deployment.databases[name].tables() for name in names))
    return dict(zip(names, tables, strict=True))
