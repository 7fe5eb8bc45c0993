"""The safety gate of `upgrade`: its options and its report on stderr."""

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


def gate(context: CommandContext, deployment: Deployment, allow: Sequence[str]) -> Gate | None:
    """Return the gate, or None for `--safety off`. Raises `UsageError` for an unknown hazard class."""
    mode = deployment.settings.safety
    if mode == "off":
        if allow:
            raise UsageError("--allow has no effect with --safety off", hint="add --safety require")
        return None
    from circle_migrate.safety.gate import Gate
    from circle_migrate.safety.hazards.hazard import HazardClass

    classes = {str(hazard_class): hazard_class for hazard_class in HazardClass}
    for name in allow:
        if name not in classes:
            raise UsageError(f"there is no hazard class {name!r}", hint="classes: " + ", ".join(classes))
    allowed = frozenset(classes[name] for name in allow)

    def show(report: SafetyReport) -> None:
        for line in _lines(report, allowed):
            context.progress.warn(line)

    def say(text: str) -> None:
        context.progress.say(f"safety: {text}")

    return Gate(deployment, mode == "require", allowed, show, say)


def _lines(report: SafetyReport, allowed: frozenset[HazardClass]) -> list[str]:
    """Return the report's warnings, and dangers that are not allowed, without alternative code."""
    from circle_migrate.cli.console import console
    from circle_migrate.cli.render.report import write_finding
    from circle_migrate.cli.render.safety import write_hazard
    from circle_migrate.core.findings import Severity
    from circle_migrate.safety.result import HazardFinding

    buffer = StringIO()
    screen = console(buffer)
    for finding in report.findings:
        if finding.severity is Severity.NOTE:
            continue
        if not isinstance(finding, HazardFinding):
            write_finding(finding, screen)
        elif finding.hazard.kind not in allowed:
            write_hazard(finding, screen)
    lines = buffer.getvalue().splitlines()
    return [f"safety: {report.coverage.description}", *lines] if lines else []
