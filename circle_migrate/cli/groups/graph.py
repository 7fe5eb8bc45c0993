"""Commands that draw: graph."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.shared_options import SCRATCH
from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.core.errors import UsageError
from circle_migrate.diff.side import Source

if TYPE_CHECKING:
    from circle_migrate.commands.graph.drawing import Diagram
    from circle_migrate.core.result import Result

_PANEL = "Look"


class Subject(StrEnum):
    """What is drawn."""

    REVISIONS = "revisions"
    ENTITIES = "entities"


class _Origin(StrEnum):
    """Where the tables are taken from."""

    MODELS = Source.MODELS
    REVISIONS = Source.REVISIONS
    LIVE = Source.LIVE


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, running=SCRATCH)
    async def graph(
        call: CommandContext,
        what: Annotated[
            Subject,
            typer.Argument(metavar="WHAT", help="revisions, or entities: tables and their relations."),
        ] = Subject.REVISIONS,
        span: Annotated[
            str | None, typer.Argument(metavar="FROM:TO", help="Only these revisions, as in history.")
        ] = None,
        origin: Annotated[
            _Origin | None, typer.Option("--from", help="Whose tables.", show_default="models")
        ] = None,
        current: Annotated[
            bool, typer.Option("--current", help="Mark the current revisions; asks the databases.")
        ] = False,
        form: Annotated[
            DiagramFormat | None,
            typer.Option("--as", help="How to draw.", show_default="by the suffix of FILE, else mermaid"),
        ] = None,
        output: Annotated[
            Path | None,
            typer.Option("--output", "-o", metavar="FILE", help="Save it there: .mmd, .dot or .svg."),
        ] = None,
    ) -> Result:
        """Draw the revision trees or the tables as Mermaid, DOT or, with Graphviz, SVG.

        circle-migrate graph -o trees.svg

        circle-migrate graph revisions 8b56: --current

        circle-migrate graph entities --from live --as dot | dot -Tpdf -o tables.pdf
        """
        from circle_migrate.commands.graph.graph import drawn, form_of

        _refuse(what, span=span, origin=origin, current=current)
        chosen = form_of(form, output)
        drawing = await (
            _trees(call, span, current=current) if what is Subject.REVISIONS else _tables(call, origin)
        )
        result = drawn(drawing, chosen, output)
        for note in result.notes:
            call.say(note)
        return result


def _refuse(what: Subject, *, span: str | None, origin: _Origin | None, current: bool) -> None:
    """Raise `UsageError` for an option that says nothing about what is drawn."""
    if what is Subject.ENTITIES and (span or current):
        raise UsageError("FROM:TO and --current are about revisions", hint="circle-migrate graph revisions …")
    if what is Subject.REVISIONS and origin:
        raise UsageError("--from is about tables", hint=f"circle-migrate graph entities --from {origin}")


async def _trees(call: CommandContext, span: str | None, *, current: bool) -> Diagram:
    from circle_migrate.commands.graph.graph import revisions

    if not current:
        return revisions(call.files(), span)
    from circle_migrate.migrate.identity import verify_identity

    deployment = await call.ready(call.deployment())
    return revisions(deployment, span, verify_identity(deployment, await deployment.states()))


async def _tables(call: CommandContext, origin: _Origin | None) -> Diagram:
    from circle_migrate.commands.graph.graph import entities

    source = Source(origin or Source.MODELS)
    deployment = await call.ready(call.deployment()) if source is Source.LIVE else call.files()
    return await entities(deployment, source)
