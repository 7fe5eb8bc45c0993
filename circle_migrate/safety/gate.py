"""The gate before an upgrade: what is pending is judged, and stops it where it is dangerous."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from circle_migrate.core.errors import Interrupted, MigrateError, Refused
from circle_migrate.core.redaction import redact

if TYPE_CHECKING:
    from circle_migrate.postgres.database import State
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.revision_graph.plan import Plan
    from circle_migrate.safety.hazards.hazard import HazardClass
    from circle_migrate.safety.result import HazardFinding, SafetyReport

_SHOWN = 3
"""Dangers that a refusal names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Judges the plan of an upgrade before it runs.

    Where it is not `required`, nothing stops the upgrade, not even that nothing can be judged. `allowed` are
    classes of dangers that do not stop it. `show` is given what was found, `say` a line about what goes on.
    """

    deployment: Deployment
    required: bool
    allowed: frozenset[HazardClass] = frozenset()
    on_result: Callable[[SafetyReport], None] = lambda _safety: None
    on_progress: Callable[[str], None] = lambda _text: None

    async def check(self, plan: Plan, states: Mapping[str, State]) -> dict[str, object]:
        """What to keep with the run in the journal; empty where nothing can be endangered.

        Raises `Refused` for a danger that is not allowed, and where it is required why nothing can be judged.
        """
        if not await self._holds_rows(plan):
            return {}
        from circle_migrate.safety.assess import assess

        versions = {name: state.server_version_num for name, state in states.items()}
        try:
            self.on_progress("what is pending is tried out on a scratch database")
            safety = await assess(self.deployment, plan, versions)
        except Interrupted:
            raise
        except Exception as error:
            if self.required:
                raise
            # A second opinion that nobody insists on is no reason to stop, not even where it has a bug.
            why = error.message if isinstance(error, MigrateError) else f"{type(error).__name__}: {error}"
            self.on_progress(f"not judged: {why}")
            return _notes(self, unknown=redact(why))
        self.on_result(safety)
        if self.required:
            self._refuse(safety)
        return _notes(self, safety)

    async def _holds_rows(self, plan: Plan) -> bool:
        """Whether a database of the plan has a table with a row, or one of which nobody knows."""
        from circle_migrate.safety.live_database.sizes import sizes

        databases = (self.deployment.databases[name] for name in plan.databases)
        try:
            found = await asyncio.gather(*(sizes(database) for database in databases))
        except MigrateError:
            return True
        return any(size.rows != 0 for each in found for size in each.values())

    def _refuse(self, safety: SafetyReport) -> None:
        dangers = safety.dangers(self.allowed)
        if dangers:
            raise _refusal(dangers)
        for finding in safety.findings:
            if finding.is_inconclusive:
                raise Refused(finding.message, state="nothing was changed", hint=finding.remedy)


def _refusal(dangers: tuple[HazardFinding, ...]) -> Refused:
    classes = dict.fromkeys(str(hazard_finding.hazard.kind) for hazard_finding in dangers)
    lines = [
        f"{hazard_finding.rule} at {hazard_finding.file}:{hazard_finding.line}: {hazard_finding.message}"
        for hazard_finding in dangers[:_SHOWN]
    ]
    more = len(dangers) - _SHOWN
    return Refused(
        f"what is pending is dangerous: {len(dangers)} findings of {', '.join(classes)}"
        if len(dangers) > 1
        else f"what is pending is dangerous ({dangers[0].hazard.kind})",
        detail="\n".join([*lines, *([f"and {more} more"] if more > 0 else [])]),
        state="nothing was changed",
        hint="`circle-migrate safety-check` says what to write instead; to run it nevertheless: "
        + " ".join(f"--allow {class_}" for class_ in classes),
    )


def _notes(gate: Gate, safety: SafetyReport | None = None, unknown: str | None = None) -> dict[str, object]:
    """What the journal keeps: the gate, and what it saw or could not see."""
    kept: dict[str, Any] = {
        "gate": "require" if gate.required else "warn",
        "allowed": sorted(str(hazard_class) for hazard_class in gate.allowed),
    }
    if safety is None:
        return {"safety": kept | {"unknown": unknown}}
    from circle_migrate.core.findings import Severity

    kept["coverage"] = safety.coverage.description
    kept["found"] = [
        {
            "hazard": hazard_finding.rule,
            "class": str(hazard_finding.hazard.kind),
            "verdict": hazard_finding.verdict,
            "database": hazard_finding.database,
            "revision": hazard_finding.revision,
            "subject": hazard_finding.subject,
        }
        for hazard_finding in safety.judged
        if hazard_finding.severity is not Severity.NOTE
    ]
    kept["suppressed"] = [suppressed.to_dict() for suppressed in safety.suppressed]
    return {"safety": kept}
