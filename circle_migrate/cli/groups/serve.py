"""The commands serve and metrics, which need the extra `api`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from circle_migrate.cli.command import Declarations, command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import API, option
from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result

_PANEL = "Look"


def register(app: Declarations) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, options=API, without=("format", "quiet", "no_progress"))
    def serve(context: CommandContext) -> Result:
        """Answer over HTTP: health, the results of reading commands, metrics and a page. Changes nothing.

        Examples:
            circle-migrate serve # http://127.0.0.1:8080
            circle-migrate serve --listen 0.0.0.0:80 # with CIRCLE_MIGRATE_API_TOKEN
        """
        with _extra():
            from circle_migrate.api.server import serve as action
        from circle_migrate.cli.progress import Progress
        from circle_migrate.cli.streams import safe_stderr

        settings = context.settings()
        quiet = context._replace(progress=Progress(quiet=True))
        if settings.embedded:
            import asyncio

            asyncio.run(quiet.ready())
        action(settings, quiet.deployment, safe_stderr())
        raise typer.Exit

    @command(app, panel=_PANEL)
    async def metrics(
        context: CommandContext,
        output: Path | None = option("FILE", "Save the metrics to this file.", "--output", "-o"),
    ) -> Result:
        """Write the state of all databases as metrics for Prometheus.

        Examples:
            circle-migrate metrics -o circle.prom # for the textfile collector
        """
        with _extra():
            from circle_migrate.api.metrics import metrics as action

        return await action(await context.ready(), output)


@contextmanager
def _extra() -> Iterator[None]:
    """Raise `UsageError` where the extra is not installed."""
    try:
        yield
    except ImportError as error:
        raise UsageError(
            "this command needs the extra `api`, which is not installed",
            detail=str(error),
            hint="run pip install 'circle-migrate[api]'",
        ) from error
