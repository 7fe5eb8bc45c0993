"""The gate before an upgrade: assess the plan and refuse to run a dangerous one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from circle_migrate.core.errors import Interrupted, MigrateError, Refused, text_of
from circle_migrate.core.redaction import redact
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Plan

if TYPE_CHECKING:
    from circle_migrate.safety.hazards.hazard import HazardClass
    from circle_migrate.safety.result import HazardFinding, SafetyReport

_SHOWN = 3
"""The number of dangers that the error names; the others are counted."""


@dataclass(frozen=True, slots=True)
class SafetyGate:
    """Assesses the plan of an upgrade before it runs.

    Unless `required`, nothing stops the upgrade. Dangers of the `allowed` classes never stop it. `on_result`
    gets the report, `on_progress` a line of progress.
    """

    deployment: Deployment
    required: bool
    allowed: frozenset[HazardClass] = frozenset()
    on_result: Callable[[SafetyReport], None] = lambda _safety: None
    on_progress: Callable[[str], None] = lambda _text: None

    async def check(self, plan: Plan, states: Mapping[str, State]) -> dict[str, object]:
        """Return notes for the journal, none without data. If required, raises `Refused` and other errors."""
        if not await self._has_data(plan, states):
            return {}
        from circle_migrate.safety.assess import assess

        versions = {name: state.server_version_num for name, state in states.items()}
        try:
            self.on_progress("the pending revisions are traced on a scratch database")
            safety = await assess(self.deployment, plan, versions)
        except Interrupted:
            raise
        except Exception as error:
            if self.required:
                raise
            # An optional assessment stops no upgrade, not even by a bug.
            reason = f"{type(error).__name__}: {text_of(error)}"
            reason = error.message if isinstance(error, MigrateError) else reason
            self.on_progress(f"the pending revisions were not assessed: {reason}")
            return _notes(self, unknown=redact(reason))
        self.on_result(safety)
        if not self.required:
            return _notes(self, safety)
        if dangers := safety.dangers(self.allowed):
            raise _danger_error(dangers)
        for finding in safety.findings:
            if finding.is_inconclusive:
                raise Refused(finding.message, hint=finding.remedy)
        return _notes(self, safety)

    async def _has_data(self, plan: Plan, states: Mapping[str, State]) -> bool:
        """Return whether a database of the plan has data, or may have some that cannot be read."""
        databases = [self.deployment.databases[name] for name in plan.databases if not states[name].is_empty]
        if not databases:
            return False
        from circle_migrate.safety.live_database.no_data import databases_with_data

        try:
            return bool(await databases_with_data(databases))
        except MigrateError:
            return True


def _danger_error(dangers: tuple[HazardFinding, ...]) -> Refused:
    classes = dict.fromkeys(str(danger.hazard.kind) for danger in dangers)
    lines = [f"{danger.rule} at {danger.file}:{danger.line}: {danger.message}" for danger in dangers[:_SHOWN]]
    more = len(dangers) - _SHOWN
    return Refused(
        f"the pending revisions are dangerous: {len(dangers)} findings of {', '.join(classes)}"
        if len(dangers) > 1
        else f"the pending revisions are dangerous ({dangers[0].hazard.kind})",
        detail="\n".join([*lines, *([f"and {more} more"] if more > 0 else [])]),
        hint="to see what to write instead: circle-migrate safety-check; to upgrade anyway, add "
        + " ".join(f"--allow {class_}" for class_ in classes),
    )


def _notes(
    gate: SafetyGate, safety: SafetyReport | None = None, unknown: str | None = None
) -> dict[str, object]:
    """Return the notes for the journal: the options of the gate and the findings, or why there are none."""
    mode = "require" if gate.required else "warn"
    notes: dict[str, Any] = {"gate": mode, "allowed": sorted(map(str, gate.allowed))}
    if safety is None:
        return {"safety": notes | {"unknown": unknown}}
    from circle_migrate.core.findings import Severity

    notes["coverage"] = safety.coverage.description
    names = ("hazard", "class", "verdict", "database", "revision", "subject")
    findings = (finding for finding in safety.hazard_findings if finding.severity is not Severity.NOTE)
    entries = (finding.to_hazard_dict() for finding in findings)
    notes["found"] = [{name: entry[name] for name in names} for entry in entries]
    notes["suppressed"] = [suppressed.to_dict() for suppressed in safety.suppressed]
    return {"safety": notes}
