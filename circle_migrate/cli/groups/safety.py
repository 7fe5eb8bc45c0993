"""The commands safety-check and stats."""

from enum import StrEnum
from pathlib import Path

from circle_migrate.cli import options as shared
from circle_migrate.cli.command import Declarations, command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import CHECKS, SCRATCH, SIZES, flag, option
from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result

_PANEL = "Look"


class _Profile(StrEnum):
    """The source of table sizes and rows."""

    LIVE = "live"
    CI = "ci"


def register(app: Declarations) -> None:
    """Add the commands to the application."""

    @command(
        app,
        "safety-check",
        panel=_PANEL,
        options=("transaction", "events", *SCRATCH, *SIZES),
        formats=CHECKS,
        negative_arguments=True,
    )
    async def safety_check(
        context: CommandContext,
        target: list[str] | None = shared.targets("Check up to this revision", show_default="head"),
        down: bool = shared.DOWN,
        cascade: bool = shared.CASCADE,
        profile: _Profile = option(
            None, "Query the live databases (live), or none (ci).", default=_Profile.LIVE
        ),
        base: str | None = option("REF", "Plan from the heads of this git revision; needs --profile ci."),
        stats: Path | None = option(
            "FILE", "Read table sizes from this file of `stats -o FILE`; needs --profile ci."
        ),
        baseline: Path | None = shared.safety_option("FILE", "Ignore the findings in this file."),
        write_baseline: bool = shared.safety_flag("--write-baseline", "Write the findings to that file."),
        allow_unknown: bool = shared.safety_flag(
            "--allow-unknown", "Do not fail for statements that could not be traced."
        ),
        list_rules: bool = flag("--list-rules", "List all hazards."),
        explain: str | None = option("ID", "Explain one hazard."),
    ) -> Result:
        """Check pending revisions for locks, rewrites and data loss. Exit status 5 on danger.

        Examples:
            circle-migrate safety-check # pending revisions on the live databases
            circle-migrate safety-check --profile ci --base origin/main --format markdown
            circle-migrate safety-check --down -- -1
            circle-migrate safety-check --explain CM001
        """
        if list_rules or explain is not None:
            from circle_migrate.safety.result import explain_hazard, list_hazards

            if explain is not None:
                return explain_hazard(context.command, explain)
            return list_hazards(context.command)
        ci = profile == _Profile.CI
        if not ci and (base is not None or stats is not None):
            raise UsageError("--base and --stats are for a check without databases", hint="add --profile ci")
        if write_baseline and baseline is None:
            raise UsageError("--write-baseline needs a file", hint="add --baseline FILE")
        if down and not target:
            raise UsageError("a downgrade needs a target", hint="give -1, base or a revision id")
        from circle_migrate.commands.safety_check import safety_check as action
        from circle_migrate.revision_graph.plan import Direction
        from circle_migrate.safety.assess import SafetyOptions
        from circle_migrate.safety.rules.evidence import Mode

        options = SafetyOptions(
            Mode(profile), stats, base, baseline, write_baseline, allow_unknown, cascade=cascade
        )
        deployment = context.files() if ci else await context.ready()
        direction = Direction.DOWN if down else Direction.UP
        return await action(deployment, target or ["head"], direction, options, context.progress)

    @command(app, panel=_PANEL)
    async def stats(
        context: CommandContext,
        output: Path | None = option("FILE", "Save the sizes to this file as JSON.", "--output", "-o"),
    ) -> Result:
        """Measure rows and bytes of every table of all databases.

        Examples:
            circle-migrate stats -o stats.json # for safety-check --profile ci
        """
        from circle_migrate.commands.stats import stats as action

        return await action(await context.ready(), output)
