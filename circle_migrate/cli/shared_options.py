"""Options that several commands share, by the name of the parameter that receives the value."""

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


class SafetyMode(StrEnum):
    """The safety check of an upgrade: none, one that reports dangers, or one that refuses them."""

    OFF = "off"
    WARN = "warn"
    REQUIRE = "require"


def _option(kind: Any, text: str, panel: str | None, *names: str, **details: Any) -> Any:
    return Annotated[kind, typer.Option(*names, help=text, rich_help_panel=panel, **details)]


_RUN = "Run"
_CONNECTION = "Connection"
_OUTPUT = "Output"
_SIZES = "Table size thresholds"

FORMAT = typer.Option("--format", help="Write the result in this format.", rich_help_panel=_OUTPUT)

COMMON: dict[str, Any] = {
    "database": _option(
        str | None,
        "Use only this database: main or credentials.",
        None,
        "--database",
        "-d",
        metavar="NAME",
        autocompletion=lambda: ["main", "credentials"],
    ),
    "database_url": _option(
        str | None, "Connect to main at this URL. Environment: DATABASE_URL.", _CONNECTION, metavar="URL"
    ),
    "creds_database_url": _option(
        str | None,
        "Connect to credentials at this URL. Environment: CREDS_DATABASE_URL.",
        _CONNECTION,
        metavar="URL",
    ),
    "embedded": _option(
        bool | None,
        "Use a private PostgreSQL in this project. Environment: CIRCLE_MIGRATE_EMBEDDED.",
        _CONNECTION,
        "--embedded",
        show_default=False,
    ),
    "embedded_data": _option(
        Path | None, "Keep the data of the private PostgreSQL here.", _CONNECTION, metavar="FOLDER"
    ),
    "format": Annotated[Format, FORMAT],
    "quiet": _option(bool, "Show no progress.", _OUTPUT, "--quiet", "-q"),
    "verbose": _option(
        bool, "Show notices of the servers and Alembic's log, too.", _OUTPUT, "--verbose", "-v"
    ),
    "debug": _option(bool, "Show the traceback of an error, without secrets.", _OUTPUT, "--debug"),
}
"""The options of every command."""

OPTIONS: dict[str, Any] = {
    "atomic": _option(
        bool | None,
        "Commit both databases by one decision (two-phase commit), or one after the other.",
        _RUN,
        "--atomic/--serial",
        show_default="serial",
    ),
    "transaction": _option(
        Transaction | None,
        "Run as many steps in a transaction as can share one, or one revision in each.",
        _RUN,
        show_default="all",
    ),
    "lock_wait": _option(
        str | None,
        "Wait at most this long for other deployers and for locks.",
        _RUN,
        metavar="SECONDS",
        show_default="60",
    ),
    "lock_timeout": _option(
        str | None,
        "Let a statement wait at most this long for a lock, then roll back and retry.",
        _RUN,
        metavar="SECONDS",
        show_default="4",
    ),
    "scratch_url": _option(
        str | None,
        "Create scratch databases on this server. Environment: CIRCLE_MIGRATE_SCRATCH_URL.",
        _CONNECTION,
        metavar="URL",
    ),
    "scratch_on_target": _option(
        bool | None,
        "Allow scratch databases on the servers of the live ones; the role needs CREATEDB.",
        _CONNECTION,
        "--scratch-on-target",
        show_default=False,
    ),
    "pg_bin": _option(
        Path | None,
        "Use pg_dump and pg_restore of this folder. Environment: CIRCLE_MIGRATE_PG_BIN.",
        _RUN,
        metavar="FOLDER",
    ),
    "x_arguments": _option(
        list[str] | None,
        "Pass an argument to revisions, which read it with context.get_x_argument(). Repeatable.",
        _RUN,
        "-x",
        "--x-arguments",
        metavar="KEY=VALUE",
    ),
    "safety": _option(
        SafetyMode | None,
        "Check pending revisions for hazards first: report dangers, or refuse them.",
        _RUN,
        show_default="warn",
    ),
    "safety_rows": _option(
        int | None,
        "Treat a table with at least this many rows as large.",
        _SIZES,
        "--rows",
        metavar="N",
        min=0,
        show_default="10000",
    ),
    "safety_bytes": _option(
        int | None,
        "Treat a table with at least this many bytes as large.",
        _SIZES,
        "--bytes",
        metavar="N",
        min=0,
        show_default="52428800",
    ),
}
"""The options of some commands."""

SCRATCH = ("scratch_url", "scratch_on_target", "x_arguments")
"""The options of commands that may run revisions in a scratch database."""

RUN = ("atomic", "transaction", "lock_wait", "lock_timeout", *SCRATCH)
"""The options of commands that run revisions."""

SIZES = ("safety_rows", "safety_bytes")
"""The options of commands that tell large tables from small ones."""
