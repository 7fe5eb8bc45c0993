"""The commands diff, snapshot, consistency and graph."""

from enum import StrEnum
from pathlib import Path

from circle_migrate.cli.command import Declarations, command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import CHECKS, COMPARISONS, SCRATCH, argument, flag, option
from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result
from circle_migrate.diff.side import Source

_PANEL = "Look"


class _Subject(StrEnum):
    """The subject of a diagram."""

    REVISIONS = "revisions"
    ENTITIES = "entities"


class _Origin(StrEnum):
    """The source of the tables."""

    MODELS = Source.MODELS
    REVISIONS = Source.REVISIONS
    LIVE = Source.LIVE


def register(app: Declarations) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, options=SCRATCH, formats=COMPARISONS)
    async def diff(
        context: CommandContext,
        sides: list[str] | None = argument(
            "FROM TO",
            "Compare these: models, revisions, revisions@REVISION, revisions@current, live, or a file.",
            show_default="revisions@current live",
        ),
        only_drift: bool = flag("--drift", "Compare revisions@current with live."),
        missing: bool = flag("--missing", "Compare models with revisions."),
        ignore: list[str] | None = option(
            "'KIND PATTERN'",
            "Ignore these differences: 'index public.tmp_*', 'acl of table *'. Repeatable.",
        ),
        grants: bool = flag("--grants", "Report every privilege as an error."),
        owners: bool = flag("--owners", "Report every owner as an error."),
        column_order: bool = flag("--column-order", "Compare the order of columns."),
        partitions: bool = flag("--partitions", "Treat extra partitions as tables."),
    ) -> Result:
        """Compare two catalogs of each database. Exit status 4 where they differ.

        Examples:
            circle-migrate diff # was a database changed by hand?
            circle-migrate diff models revisions # is a revision missing?
            circle-migrate diff revisions@-1 revisions -d main --format sql
            circle-migrate diff yesterday/ live --ignore 'index public.tmp_*'
        """
        from circle_migrate.commands.diff import DRIFT, GRANT_FIELDS, MISSING, OWNER_FIELDS
        from circle_migrate.commands.diff import diff as action
        from circle_migrate.diff.compare import CompareOptions
        from circle_migrate.diff.side import parse_sides

        comparisons = [tuple(sides)] if sides else []
        comparisons += [DRIFT] * only_drift + [MISSING] * missing
        if len(comparisons) > 1 or len(sides or ()) > 2:
            raise UsageError(
                "diff makes one comparison at a time", hint="give FROM and TO, or --drift, or --missing"
            )
        texts = comparisons[0] if comparisons else DRIFT
        trials = (
            (False, True) if "alembic" in context.formats else (False,) if "sql" in context.formats else ()
        )
        options = CompareOptions(
            always_error=frozenset(GRANT_FIELDS * grants + OWNER_FIELDS * owners),
            column_order=column_order,
            partitions=partitions,
        )
        reads = any(side.needs_live_database for side in parse_sides(texts))
        deployment = await context.ready() if reads else context.files()
        return await action(deployment, texts, options, ignore or (), trials)

    @command(app, panel=_PANEL, options=SCRATCH)
    async def snapshot(
        context: CommandContext,
        state: str = argument(
            "STATE", "Write this state: live, models, or revisions (head, an id, base).", default="live"
        ),
        output: str | None = option(
            "FILE",
            "Write to this file or folder; {database} in the name stands for the database.",
            "--output",
            "-o",
        ),
    ) -> Result:
        """Save the catalog of each database to compare it later. Function bodies can hold secrets.

        Examples:
            circle-migrate snapshot -o before/ # a file for each database
            circle-migrate snapshot head -d main -o main.json
            circle-migrate diff before/ live # later
        """
        from circle_migrate.commands.snapshot import take_snapshots
        from circle_migrate.diff.side import parse_state

        reads = parse_state(state).needs_live_database
        return await take_snapshots(await context.ready() if reads else context.files(), state, output)

    @command(app, panel=_PANEL, options=("events",), formats=CHECKS, without=("database",))
    async def consistency(
        context: CommandContext,
        relation: list[str] | None = option("NAME", "Compare only this declared relation. Repeatable."),
        limit: int = option("N", "Show at most N keys in a finding.", "--limit", "-n", default=10, min=0),
    ) -> Result:
        """Compare the keys that relate the databases. Exit status 4 on orphans.

        Examples:
            circle-migrate consistency # after an upgrade or a restore, or every night
            circle-migrate consistency --relation user-credentials --limit 100
        """
        from circle_migrate.commands.consistency.consistency import consistency as action

        return await action(await context.ready(), relation or (), limit=limit, notify=context.progress)

    @command(app, panel="Look", options=SCRATCH)
    async def graph(
        context: CommandContext,
        subject: _Subject = argument(
            "WHAT",
            "Draw the revisions, or the entities: tables and their relations.",
            default=_Subject.REVISIONS,
        ),
        revision_range: str | None = argument("FROM:TO", "Draw only these revisions, as in history."),
        origin: _Origin | None = option(
            None,
            "Draw the tables of the models, the revisions or the live databases.",
            "--from",
            show_default="models",
        ),
        current: bool = flag("--current", "Mark the current revisions; reads the databases."),
        given_format: DiagramFormat | None = option(
            None, "Draw in this format.", "--as", show_default="by the suffix of FILE, else mermaid"
        ),
        output: Path | None = option("FILE", "Save to this .mmd, .dot or .svg file.", "--output", "-o"),
    ) -> Result:
        """Draw the revision trees or the tables as Mermaid, DOT or, with Graphviz, SVG.

        Examples:
            circle-migrate graph -o trees.svg
            circle-migrate graph revisions 8b56: --current
            circle-migrate graph entities --from live --as dot | dot -Tpdf -o tables.pdf
        """
        from circle_migrate.commands.graph import graph as action
        from circle_migrate.commands.history import history

        if subject is _Subject.ENTITIES and (revision_range or current):
            raise UsageError(
                "FROM:TO and --current are for revisions", hint="circle-migrate graph revisions …"
            )
        if subject is _Subject.REVISIONS and origin:
            raise UsageError("--from is for tables", hint=f"circle-migrate graph entities --from {origin}")
        diagram_format = action.resolve_format(given_format, output)
        if subject is _Subject.REVISIONS:
            deployment, rows = await context.trees(with_current=current)
            listing = history(deployment, revision_range, rows)
            diagram = action.revision_trees(deployment.combined_graph, listing)
        else:
            source = Source(origin or Source.MODELS)
            deployment = await context.ready() if source is Source.LIVE else context.files()
            diagram = await action.entities(deployment, source)
        result = action.write_diagram(diagram, diagram_format, output)
        for note in result.notes:
            context.progress.say(note)
        return result
