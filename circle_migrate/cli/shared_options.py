"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from circle_migrate.cli.output_format import Format


class Transaction(StrEnum):
    """How many steps share a transaction."""

    ALL = "all"
    PER_REVISION = "per-revision"


_CONNECTION = "Connection"


_OUTPUT = "Output"


FORMAT = typer.Option("--format", help="How to write the result.", rich_help_panel=_OUTPUT)


COMMON: dict[str, Any] = {
    "database": Annotated[
        str | None,
        typer.Option(
            "--database",
            "-d",
            metavar="NAME",
            help="Only this database: main or credentials.",
            autocompletion=lambda: ["main", "credentials"],
        ),
    ],
    "database_url": Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where main is. Environment: DATABASE_URL.", rich_help_panel=_CONNECTION
        ),
    ],
    "creds_database_url": Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where credentials is. Environment: CREDS_DATABASE_URL.",
            rich_help_panel=_CONNECTION,
        ),
    ],
    "embedded": Annotated[
        bool | None,
        typer.Option(
            "--embedded",
            help="Use a private PostgreSQL in this project. Environment: CIRCLE_MIGRATE_EMBEDDED.",
            rich_help_panel=_CONNECTION,
            show_default=False,
        ),
    ],
    "embedded_data": Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where its data lies.", rich_help_panel=_CONNECTION),
    ],
    "format": Annotated[Format, FORMAT],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="No progress.", rich_help_panel=_OUTPUT)],
    "debug": Annotated[
        bool,
        typer.Option("--debug", help="Tracebacks of errors, with secrets hidden.", rich_help_panel=_OUTPUT),
    ],
}


_RUN = "Run"


RUNNING: dict[str, Any] = {
    "atomic": Annotated[
        bool | None,
        typer.Option(
            "--atomic/--serial",
            help="One commit decision over both databases (two-phase commit), or one after the other.",
            rich_help_panel=_RUN,
            show_default="serial",
        ),
    ],
    "transaction": Annotated[
        Transaction | None,
        typer.Option(
            help="Steps per transaction: as many as can share one, or one revision each.",
            rich_help_panel=_RUN,
            show_default="all",
        ),
    ],
    "lock_wait": Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS",
            help="How long to wait for other deployers and for locks.",
            rich_help_panel=_RUN,
            show_default="60",
        ),
    ],
    "lock_timeout": Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS",
            help="How long a statement may queue for a lock before it is tried anew.",
            rich_help_panel=_RUN,
            show_default="4",
        ),
    ],
    "scratch_url": Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A server for scratch databases. Environment: CIRCLE_MIGRATE_SCRATCH_URL.",
            rich_help_panel=_CONNECTION,
        ),
    ],
    "scratch_on_target": Annotated[
        bool | None,
        typer.Option(
            "--scratch-on-target",
            help="Allow scratch databases beside the live ones; the role needs CREATEDB.",
            rich_help_panel=_CONNECTION,
            show_default=False,
        ),
    ],
}


DUMPING: dict[str, Any] = {
    "pg_bin": Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where pg_dump and pg_restore are. Environment: CIRCLE_MIGRATE_PG_BIN.",
            rich_help_panel=_RUN,
        ),
    ],
}
"""The options of commands that dump or restore."""


SCRATCH = ("scratch_url", "scratch_on_target")
"""The options in RUNNING of commands that may need a scratch database."""
