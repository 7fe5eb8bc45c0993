"""What a run does about schemas that were changed by hand, and `accept-drift`, which accepts one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from circle_migrate.core.errors import Interrupted, MigrateError, Refused, SchemaChanged, text_of
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.core.redaction import redact
from circle_migrate.core.result import Result, json_fields
from circle_migrate.migrate.changed_schema import (
    NOTE,
    Change,
    Drift,
    find_change,
    find_change_or_problem,
    remedy_of_change,
    report_drift,
)
from circle_migrate.migrate.guards import ensure_not_in_doubt, ensure_writable, verify_identity
from circle_migrate.migrate.half_done import half_done, half_done_error
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.protection import protection
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Plan, plan_without_changes

if TYPE_CHECKING:
    from circle_migrate.config.databases import DriftMode
    from circle_migrate.diff.result import Comparison
    from circle_migrate.postgres.database import State


class DriftGate:
    """Compares schemas that were changed by hand with their revisions, and warns or refuses.

    A change is compared once. `mode` takes precedence over the setting. After `check`, `changed` has the
    fingerprints of the schemas that were changed.
    """

    def __init__(self, deployment: Deployment, mode: DriftMode | None = None) -> None:
        self.deployment = deployment
        self._mode = mode
        self._known: dict[str, Drift] = {}
        self.changed: dict[str, str | None] = {}

    async def check(self, plan: Plan, states: Mapping[str, State]) -> tuple[str, ...]:
        """Return notes on the databases of a plan, which only reads. Raises `SchemaChanged`."""
        names = [name for name in plan.databases if states[name].journal_of is not None]
        changes = await asyncio.gather(*(self._find(states[name]) for name in names))
        found = {name: change for name, change in zip(names, changes, strict=True) if change}
        self.changed = {name: change.now for name, change in found.items() if not change.is_undone}
        drifts = await self.assess(states, found) if found else {}
        return tuple(drift.text for drift in drifts.values() if drift.text)

    async def _find(self, state: State) -> Change | None:
        database = self.deployment.databases[state.database]
        unfinished = bool(half_done(self.deployment.combined_graph.graphs[state.database], state))
        async with database.reading() as connection:
            journal = Journal(database, state)
            return await find_change_or_problem(journal, connection, state, half_done=unfinished)

    async def assess(self, states: Mapping[str, State], changes: Mapping[str, Change]) -> dict[str, Drift]:
        """Return what the changes are, as `AssessDrift`."""
        drifts = await report_drift(states, changes)
        modes = {name: self._mode_of(states[name]) for name in changes}
        for name in changes:
            if modes[name] == "off":
                drifts[name] = drifts[name]._replace(silent=True)
            elif name in self._known and self._known[name].change == changes[name]:
                drifts[name] = self._known[name]
        new = [name for name, drift in drifts.items() if not drift.silent and drift != self._known.get(name)]
        if new:
            drifts |= await _compare(self.deployment, {name: drifts[name] for name in new})
            self._known |= {name: drifts[name] for name in new}
        refused = [drift for name, drift in drifts.items() if drift.is_error and modes[name] == "refuse"]
        if refused:
            raise SchemaChanged(
                "; ".join(drift.message for drift in refused),
                database=refused[0].database if len(refused) == 1 else None,
                detail="\n".join(line for drift in refused for line in drift.details) or None,
                hint="\n".join(
                    [*(remedy_of_change(drift.database) for drift in refused), "to go on, add --drift warn"]
                ),
            )
        return drifts

    def _mode_of(self, state: State) -> DriftMode:
        protected = protection(self.deployment.databases[state.database].settings, state)
        return self._mode or self.deployment.settings.drift_mode(is_protected=protected is not None)


async def _compare(deployment: Deployment, drifts: Mapping[str, Drift]) -> dict[str, Drift]:
    """Compare the databases with their revisions; where that is not possible, the reason is in the drift."""
    from circle_migrate.commands.diff import diff

    try:
        result = await diff(Deployment(deployment.settings, drifts))
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - a run does not fail because of a comparison
        reason = error.message if isinstance(error, MigrateError) else text_of(error)
        return {name: drift._replace(reason=reason) for name, drift in drifts.items()}
    compared = {item.database: with_differences(drifts[item.database], item) for item in result.comparisons}
    reasons = {
        finding.database: "\n".join(filter(None, [finding.message, finding.remedy]))
        for finding in result.comparison_errors
    }
    return {
        name: compared.get(name) or drift._replace(reason=reasons.get(name, reasons.get(None, "")))
        for name, drift in drifts.items()
    }


def with_differences(drift: Drift, comparison: Comparison) -> Drift:
    """Return the change with its differences from the revisions, the most severe first."""
    from circle_migrate.core.findings import Severity
    from circle_migrate.diff.describe import summary

    items = sorted(comparison.differences, key=lambda item: item.severity.rank)
    texts = (f"{summary(item, comparison)} ({item.severity})".replace("\n", "\\n") for item in items)
    return drift._replace(
        differences=tuple(map(redact, texts)),
        is_settled=not items,
        is_error=any(item.severity is Severity.ERROR for item in items),
    )


@dataclass(frozen=True, slots=True)
class AcceptedDrift(Result):
    """The result of `accept-drift`: the differences that were accepted, and the run that recorded it."""

    database: str
    run: str
    differences: tuple[str, ...] = ()
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the database, the run, the differences and the reason."""
        return json_fields(self, "database run differences reason")


async def accept_drift(
    deployment: Deployment,
    confirm: Callable[[Drift], None],
    reason: str | None = None,
    notify: Notify = ignore_event,
) -> AcceptedDrift:
    """Record the schema of the one selected database as right after `confirm` has confirmed it.

    Raises `Refused` if no change by hand is known, or if the schema changes meanwhile.
    """
    (name,) = deployment.selected
    states = await deployment.states()
    verify_identity(deployment, states)
    ensure_not_in_doubt(states)
    ensure_writable(states[name])
    graph, database = deployment.combined_graph.graphs[name], deployment.databases[name]
    for step in half_done(graph, states[name]).values():
        raise half_done_error(graph, states[name], step)
    async with database.reading() as connection:
        change = await find_change(Journal(database, states[name]), connection, states[name])
    if change is None or change.is_undone:
        raise Refused(
            f"{name}: no change of the schema by hand is known since the last run",
            database=name,
            hint=f"circle-migrate diff --drift --database {name}",
        )
    drift = (await DriftGate(deployment, "warn").assess(states, {name: change}))[name]
    confirm(drift)

    from circle_migrate.migrate.executor import RunOptions, execute

    accepted = {"outcome": "accepted", "reason": reason, "differences": list(drift.differences)}
    options = RunOptions("accept-drift", hooks=_AcceptHooks(name, change), notes={NOTE: accepted})
    outcome = await execute(deployment, (name,), partial(plan_without_changes, (name,)), notify, options)
    return AcceptedDrift("accept-drift", name, outcome.run, drift.differences, reason)


@dataclass(slots=True)
class _AcceptHooks(Hooks):
    """Hooks that record the fingerprint of the schema that was confirmed."""

    name: str
    confirmed: Change

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:  # noqa: ARG002 - as declared
        """Raise `Refused` if the schema has changed since it was shown."""
        state, driver = run.states[self.name], run.sessions[self.name].driver
        change = await find_change(run.journals[self.name], driver, state)
        if change is None or change.now is None or change != self.confirmed:
            raise Refused(
                f"{self.name}: the schema has changed since it was shown",
                database=self.name,
                hint="run the command again to see the differences",
            )
        run.fingerprints[self.name] = change.now
