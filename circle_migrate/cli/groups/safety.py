"""Commands that judge what a plan would do: safety-check, and stats."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import Cascade, OptionalTargets
from circle_migrate.cli.output_format import JUDGEMENTS
from circle_migrate.cli.safety_options import THRESHOLDS
from circle_migrate.cli.shared_options import SCRATCH
from circle_migrate.core.errors import UsageError

if TYPE_CHECKING:
    from circle_migrate.core.result import Result

_PANEL = "Look"
_RULES = "Hazards"
_BASELINE = "Baseline"


class Profile(StrEnum):
    """Where sizes and rows are known from."""

    LIVE = "live"
    CI = "ci"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(
        app,
        "safety-check",
        panel=_PANEL,
        running=("transaction", *SCRATCH, *THRESHOLDS),
        formats=JUDGEMENTS,
        signed=True,
        examples=(
            "circle-migrate safety-check [dim]# what is pending, on the databases as they are now[/dim]",
            "circle-migrate safety-check --profile ci --base origin/main --format markdown",
            "circle-migrate safety-check --down -- -1",
            "circle-migrate safety-check --explain CM001",
        ),
    )
    async def safety_check(
        call: CommandContext,
        target: OptionalTargets = None,
        down: Annotated[bool, typer.Option("--down", help="Of a downgrade.")] = False,
        cascade: Cascade = False,
        profile: Annotated[
            Profile, typer.Option(help="Ask the live databases, or none: then say from where.")
        ] = Profile.LIVE,
        base: Annotated[
            str | None,
            typer.Option(metavar="REF", help="With --profile ci: from where this git revision is."),
        ] = None,
        stats: Annotated[
            Path | None, typer.Option(metavar="FILE", help="With --profile ci: sizes, of `stats -o FILE`.")
        ] = None,
        baseline: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="What is in it counts as known.", rich_help_panel=_BASELINE),
        ] = None,
        write_baseline: Annotated[
            bool,
            typer.Option(
                "--write-baseline", help="Write what is found there now.", rich_help_panel=_BASELINE
            ),
        ] = False,
        allow_unknown: Annotated[
            bool, typer.Option("--allow-unknown", help="What could not be traced is no failure.")
        ] = False,
        list_rules: Annotated[
            bool, typer.Option("--list-rules", help="List the hazards.", rich_help_panel=_RULES)
        ] = False,
        explain: Annotated[
            str | None,
            typer.Option(metavar="ID", help="All about one hazard.", rich_help_panel=_RULES),
        ] = None,
    ) -> Result:
        """Judge what is pending before it runs: locks, rewrites, lost data; ends with 5 on danger."""
        if list_rules or explain is not None:
            from circle_migrate.safety.hazard_list import explained, listed

            return explained(call.command, explain) if explain is not None else listed(call.command)
        ci = profile == Profile.CI
        if not ci and (base is not None or stats is not None):
            raise UsageError("--base and --stats are for judging without databases", hint="add --profile ci")
        if write_baseline and baseline is None:
            raise UsageError("--write-baseline does not say where to", hint="add --baseline FILE")
        if down and not target:
            raise UsageError("a downgrade needs a target", hint="-1, base or a revision id")
        from circle_migrate.commands.safety_check import safety_check as action
        from circle_migrate.revision_graph.plan import Direction
        from circle_migrate.safety.assess import SafetyOptions
        from circle_migrate.safety.rules.evidence import Mode

        options = SafetyOptions(
            Mode(profile), stats, base, baseline, write_baseline, allow_unknown, cascade=cascade
        )
        deployment = call.files() if ci else await call.ready(call.deployment())
        direction = Direction.DOWN if down else Direction.UP
        return await action(deployment, target or ["head"], direction, options, call.notify())

    @command(
        app,
        panel=_PANEL,
        examples=("circle-migrate stats -o stats.json [dim]# to judge plans without a database[/dim]",),
    )
    async def stats(
        call: CommandContext,
        output: Annotated[
            Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save them there, as JSON.")
        ] = None,
    ) -> Result:
        """Measure the tables of both databases: rows and bytes of each, and no data."""
        from circle_migrate.commands.stats import stats as action

        return await action(await call.ready(call.deployment()), output)
