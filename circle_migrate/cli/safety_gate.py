"""The gate of `upgrade` as people meet it: its options, and what it shows on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from circle_migrate.core.errors import UsageError

if TYPE_CHECKING:
    from circle_migrate.cli.context import CommandContext
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.safety.gate import Gate
    from circle_migrate.safety.hazards.hazard import HazardClass
    from circle_migrate.safety.result import SafetyReport


def gate(call: CommandContext, deployment: Deployment, allow: Sequence[str]) -> Gate | None:
    """The gate that the settings want, None for none. Raises `UsageError` for a class there is not."""
    wanted = deployment.settings.safety
    if wanted == "off":
        if allow:
            raise UsageError("nothing is judged, and so nothing can be allowed", hint="add --safety require")
        return None
    from circle_migrate.safety.gate import Gate

    allowed = _classes(allow)

    def show(safety: SafetyReport) -> None:
        for line in _lines(safety, allowed):
            call.progress.warn(line)

    def say(text: str) -> None:
        call.say(f"safety: {text}")

    return Gate(deployment, wanted == "require", allowed, show, say)


def _classes(allow: Sequence[str]) -> frozenset[HazardClass]:
    if not allow:
        return frozenset()
    from circle_migrate.safety.hazards.hazard import HazardClass

    known = {str(hazard_class): hazard_class for hazard_class in HazardClass}
    for text in allow:
        if text not in known:
            raise UsageError(f"there is no class of hazards {text!r}", hint="one of: " + ", ".join(known))
    return frozenset(known[text] for text in allow)


def _lines(safety: SafetyReport, allowed: frozenset[HazardClass]) -> list[str]:
    """What is worse than a note and not allowed, without the code that avoids it."""
    from circle_migrate.cli.console import console
    from circle_migrate.cli.render.report import finding
    from circle_migrate.cli.render.safety import hazard
    from circle_migrate.core.findings import Severity
    from circle_migrate.safety.result import HazardFinding

    written = StringIO()
    screen = console(written)
    for hazard_finding in safety.findings:
        if hazard_finding.severity is Severity.NOTE:
            continue
        if not isinstance(hazard_finding, HazardFinding):
            finding(hazard_finding, screen)
        elif hazard_finding.hazard.kind not in allowed:
            hazard(hazard_finding, screen)
    found = written.getvalue().splitlines()
    return [f"safety: {safety.coverage.description}", *found] if found else []
