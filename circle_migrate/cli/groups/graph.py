"""The command graph."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import SCRATCH, argument, flag, option
from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result
from circle_migrate.diff.side import Source

if TYPE_CHECKING:
    from circle_migrate.commands.graph.drawing import Diagram


class _Subject(StrEnum):
    """The subject of a diagram."""

    REVISIONS = "revisions"
    ENTITIES = "entities"


class _Origin(StrEnum):
    """The source of the tables."""

    MODELS = Source.MODELS
    REVISIONS = Source.REVISIONS
    LIVE = Source.LIVE


def register(app: typer.Typer) -> None:
    """Add the command to the application."""

    @command(app, panel="Look", options=SCRATCH)
    async def graph(
        context: CommandContext,
        subject: _Subject = argument(
            "WHAT", "revisions, or entities: tables and their relations.", default=_Subject.REVISIONS
        ),
        span: str | None = argument("FROM:TO", "Only these revisions, as in history."),
        origin: _Origin | None = option(None, "Draw the tables of this.", "--from", show_default="models"),
        current: bool = flag("--current", "Mark the current revisions; reads the databases."),
        form: DiagramFormat | None = option(
            None, "Draw in this format.", "--as", show_default="by the suffix of FILE, else mermaid"
        ),
        output: Path | None = option("FILE", "Save to this .mmd, .dot or .svg file.", "--output", "-o"),
    ) -> Result:
        """Draw the revision trees or the tables as Mermaid, DOT or, with Graphviz, SVG.

        circle-migrate graph -o trees.svg

        circle-migrate graph revisions 8b56: --current

        circle-migrate graph entities --from live --as dot | dot -Tpdf -o tables.pdf
        """
        from circle_migrate.commands.graph.graph import resolve_format, write_diagram

        if subject is _Subject.ENTITIES and (span or current):
            raise UsageError(
                "FROM:TO and --current are for revisions", hint="circle-migrate graph revisions …"
            )
        if subject is _Subject.REVISIONS and origin:
            raise UsageError("--from is for tables", hint=f"circle-migrate graph entities --from {origin}")
        diagram_format = resolve_format(form, output)
        diagram = await (
            _revisions(context, span, current=current)
            if subject is _Subject.REVISIONS
            else _entities(context, Source(origin or Source.MODELS))
        )
        result = write_diagram(diagram, diagram_format, output)
        for note in result.notes:
            context.progress.say(note)
        return result


async def _revisions(context: CommandContext, span: str | None, *, current: bool) -> Diagram:
    from circle_migrate.commands.graph.graph import revisions

    if not current:
        return revisions(context.files(), span)
    from circle_migrate.migrate.identity import verify_identity

    deployment = await context.ready()
    return revisions(deployment, span, verify_identity(deployment, await deployment.states()))


async def _entities(context: CommandContext, source: Source) -> Diagram:
    from circle_migrate.commands.graph.graph import entities

    return await entities(await context.ready() if source is Source.LIVE else context.files(), source)
