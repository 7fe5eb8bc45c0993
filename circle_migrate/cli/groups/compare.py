"""Commands that compare: catalogues (diff, snapshot), and what the databases hold (consistency)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.output_format import CHECKS, COMPARISONS
from circle_migrate.cli.shared_options import SCRATCH
from circle_migrate.core.errors import UsageError

if TYPE_CHECKING:
    from circle_migrate.core.result import Result
    from circle_migrate.diff.side import Side
    from circle_migrate.postgres.deployment import Deployment

_PANEL = "Look"
_COUNTING = "What counts"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(
        app,
        panel=_PANEL,
        running=SCRATCH,
        formats=COMPARISONS,
        examples=(
            "circle-migrate diff [dim]# did somebody change a database by hand?[/dim]",
            "circle-migrate diff models revisions [dim]# was a revision forgotten?[/dim]",
            "circle-migrate diff revisions@-1 revisions -d main --format sql",
            "circle-migrate diff yesterday/ live --ignore 'index public.tmp_*'",
        ),
    )
    async def diff(
        call: CommandContext,
        sides: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="FROM TO",
                help="models, revisions, revisions@REVISION, revisions@current, live, or a snapshot's file.",
                show_default="revisions@current live",
            ),
        ] = None,
        drift: Annotated[bool, typer.Option("--drift", help="As: diff revisions@current live.")] = False,
        missing: Annotated[bool, typer.Option("--missing", help="As: diff models revisions.")] = False,
        ignore: Annotated[
            list[str] | None,
            typer.Option(
                metavar="'KIND PATTERN'",
                help="No difference: 'index public.tmp_*', 'acl of table *'. May be repeated.",
                rich_help_panel=_COUNTING,
            ),
        ] = None,
        grants: Annotated[
            bool, typer.Option("--grants", help="Privileges fail everywhere.", rich_help_panel=_COUNTING)
        ] = False,
        owners: Annotated[
            bool, typer.Option("--owners", help="Owners fail everywhere.", rich_help_panel=_COUNTING)
        ] = False,
        column_order: Annotated[
            bool,
            typer.Option("--column-order", help="The order of columns counts.", rich_help_panel=_COUNTING),
        ] = False,
        partitions: Annotated[
            bool,
            typer.Option("--partitions", help="Extra partitions count as tables.", rich_help_panel=_COUNTING),
        ] = False,
    ) -> Result:
        """Compare two catalogues of each database; ends with 4 where they differ."""
        from circle_migrate.commands.diff import DRIFT, MISSING, DiffOptions
        from circle_migrate.commands.diff import diff as action
        from circle_migrate.diff.side import parse_sides

        asked = [
            *([tuple(sides)] if sides else []),
            *([DRIFT] if drift else []),
            *([MISSING] if missing else []),
        ]
        if len(asked) > 1 or len(sides or ()) > 2:
            raise UsageError("there is one FROM and one TO", hint="ask one question at a time")
        options = DiffOptions(column_order, partitions, grants, owners, ignore or ())
        typed = asked[0] if asked else DRIFT
        return await action(await _deployment(call, parse_sides(typed)), typed, options)

    @command(
        app,
        panel=_PANEL,
        running=SCRATCH,
        examples=(
            "circle-migrate snapshot -o before/ [dim]# a file for each database[/dim]",
            "circle-migrate snapshot head -d main -o main.json",
            "circle-migrate diff before/ live [dim]# later[/dim]",
        ),
    )
    async def snapshot(
        call: CommandContext,
        state: Annotated[
            str, typer.Argument(metavar="STATE", help="live, models, or revisions: head, an id, base.")
        ] = "live",
        output: Annotated[
            str | None,
            typer.Option(
                "--output", "-o", metavar="FILE", help="Where to; a folder, or with {database} in its name."
            ),
        ] = None,
    ) -> Result:
        """Take the catalogue of each database, to compare it later; bodies of functions can hold secrets."""
        from circle_migrate.commands.snapshot import take_snapshots
        from circle_migrate.diff.side import parse_state

        return await take_snapshots(await _deployment(call, (parse_state(state),)), state, output)

    @command(
        app,
        panel=_PANEL,
        formats=CHECKS,
        without=("database",),
        examples=(
            "circle-migrate consistency [dim]# after an upgrade, a restore, or any night[/dim]",
            "circle-migrate consistency --relation user-credentials --limit 100",
        ),
    )
    async def consistency(
        call: CommandContext,
        relation: Annotated[
            list[str] | None,
            typer.Option(metavar="NAME", help="Only this one of the declared relations. May be repeated."),
        ] = None,
        limit: Annotated[
            int, typer.Option("--limit", "-n", min=0, metavar="N", help="How many keys a finding shows.")
        ] = 10,
    ) -> Result:
        """Compare the keys that relate the databases, users and credentials; ends with 4 on orphans."""
        from circle_migrate.commands.consistency.consistency import consistency as action

        deployment = await call.ready(call.deployment())
        return await action(deployment, relation or (), limit=limit, notify=call.notify())


async def _deployment(call: CommandContext, sides: tuple[Side, ...]) -> Deployment:
    """The databases where a side asks them, else the trees alone."""
    if any(side.asks_the_database for side in sides):
        return await call.ready(call.deployment())
    return call.files()
