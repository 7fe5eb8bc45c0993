"""`stamp`: set the version table to the targets without running a revision, after a confirmation."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.migrate.guards import (
    ensure_distinct,
    ensure_not_in_doubt,
    ensure_own_tables,
    verify_identity,
)
from circle_migrate.migrate.planner import Planner, ensure_same_plan
from circle_migrate.migrate.protection import ProtectionGuard
from circle_migrate.migrate.result import MigrationResult, plan_settings
from circle_migrate.migrate.unknown_relations import foreign_relations
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction, Plan


async def stamp(
    deployment: Deployment,
    targets: Sequence[str],
    *,
    confirm: Callable[[Plan], None],
    purge: bool = False,
    dry_run: bool = False,
    overridden: Sequence[str] = (),
    notify: Notify = ignore_event,
) -> MigrationResult:
    """Record the targets as the current revisions after `confirm` has confirmed the plan.

    `purge` removes unknown revisions. Relations of no revision in a database that has none are logged: the
    URL may be wrong. Raises `Refused` for a protected database that is not in `overridden`.
    """
    guard = ProtectionGuard(deployment, overridden)
    planner = Planner(deployment, targets, Direction.STAMP, purge=purge)
    states = await deployment.states()
    ensure_distinct(states)
    current = {name: state.current for name, state in states.items()}
    plan = planner(current if purge else verify_identity(deployment, states))
    ensure_own_tables(states, reading=True)
    guard.check_override_names(states)
    foreign = tuple((await foreign_relations(deployment, states, plan)).values())
    if dry_run or not plan:
        ensure_not_in_doubt(states)
        notes = (*guard.protection_notes(states, plan.databases), *foreign)
        shown = plan_settings(deployment)
        return MigrationResult("stamp", plan, **shown, dry_run=dry_run, notes=notes)
    guard.ensure_unprotected(states, plan.databases)
    for sentence in foreign:
        logging.getLogger("circle_migrate").warning(sentence)
    confirm(plan)

    from circle_migrate.migrate.executor import RunOptions, execute

    planner = planner.guarded(partial(ensure_same_plan, plan))
    options = RunOptions("stamp", verify_identity=not purge, guard=guard)
    outcome = await execute(deployment, deployment.selected, planner, notify, options)
    return MigrationResult(
        "stamp",
        outcome.plan,
        **plan_settings(deployment),
        run=outcome.run,
        seconds=tuple(applied.seconds for applied in outcome.applied),
        warnings=(*foreign, *outcome.warnings),
    )
