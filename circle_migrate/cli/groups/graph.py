"""The command graph."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import SCRATCH, argument, flag, option
from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result
from circle_migrate.diff.side import Source


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
        from circle_migrate.commands.graph.graph import entities, resolve_format, revisions, write_diagram

        if subject is _Subject.ENTITIES and (span or current):
            raise UsageError(
                "FROM:TO and --current are for revisions", hint="circle-migrate graph revisions …"
            )
        if subject is _Subject.REVISIONS and origin:
            raise UsageError("--from is for tables", hint=f"circle-migrate graph entities --from {origin}")
        diagram_format = resolve_format(form, output)
        if subject is _Subject.REVISIONS:
            deployment, at = await context.at(current=current)
            diagram = revisions(deployment, span, at)
        else:
            source = Source(origin or Source.MODELS)
            diagram = await entities(
                await context.ready() if source is Source.LIVE else context.files(), source
            )
        result = write_diagram(diagram, diagram_format, output)
        for note in result.notes:
            context.progress.say(note)
        return result
