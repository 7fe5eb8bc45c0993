"""What every command shares: its options, its way to the settings and the databases, and how it ends."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import typer

from circle_migrate.cli.lazy_parameters import Command, Group
from circle_migrate.cli.safety_options import JUDGING

if TYPE_CHECKING:
    from circle_migrate.cli.progress import Progress
    from circle_migrate.config.settings import Settings
    from circle_migrate.core.events import Notify
    from circle_migrate.postgres.deployment import Deployment


class Transaction(StrEnum):
    """How many steps share a transaction."""

    ALL = "all"
    PER_REVISION = "per-revision"


class Format(StrEnum):
    """How a result is written to stdout: any result, what makes checks, what compares, what is lost."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"
    GITLAB = "gitlab"
    SQL = "sql"
    ALEMBIC = "alembic"
    PATCH = "patch"
    MARKDOWN = "markdown"


ANY_RESULT = (Format.TABLE, Format.JSON)
CHECKS = (*ANY_RESULT, Format.JUNIT, Format.SARIF, Format.GITHUB, Format.GITLAB)
COMPARISONS = (*CHECKS, Format.SQL, Format.ALEMBIC, Format.PATCH)
LOSSES = (*ANY_RESULT, Format.MARKDOWN)
JUDGEMENTS = (*CHECKS, Format.MARKDOWN)

_CONNECTION = "Connection"
_OUTPUT = "Output"

_FORMAT = typer.Option("--format", help="How to write the result.", rich_help_panel=_OUTPUT)

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
    "format": Annotated[Format, _FORMAT],
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

_DEFAULTS = {"format": Format.TABLE, "quiet": False, "debug": False}
_FLAGS = ("database_url", "creds_database_url", "embedded", "embedded_data", *RUNNING, *DUMPING, *JUDGING)


class Call(NamedTuple):
    """One call of a command with the options every command has."""

    command: str
    database: str | None
    flags: dict[str, object]
    format: Format
    progress: Progress
    debug: bool

    def settings(self, *, notes: bool = False) -> Settings:
        """The settings that hold; `notes` are said, too. Raises `SettingsError` with every problem."""
        from circle_migrate.config.load import load

        settings = load(self.flags, hazard_ids=_hazard_ids)
        for warning in settings.warnings:
            self.progress.warn(f"warning: {warning}")
        if notes or self.debug:
            for note in settings.notes:
                self.say(note)
        return settings

    def deployment(self) -> Deployment:
        """The databases, on the embedded server where the settings ask for it; that one is started."""
        from circle_migrate.postgres.deployment import Deployment

        settings = self.settings()
        if not settings.embedded:
            return Deployment(settings, self.database)
        from circle_migrate.postgres.embedded.deployment import addressed, server

        return Deployment(addressed(settings, server(settings).start()), self.database)

    def files(self) -> Deployment:
        """The trees alone: no URL is needed and no server started."""
        from circle_migrate.postgres.deployment import Deployment

        return Deployment(self.settings(), self.database)

    async def ready(self, deployment: Deployment) -> Deployment:
        """The deployment with the databases of the embedded server made where they are missing."""
        if deployment.settings.embedded:
            from circle_migrate.postgres.create_database import create_missing

            await create_missing(deployment)
        return deployment

    def say(self, text: str) -> None:
        """A line of progress."""
        self.progress.say(text)

    def notify(self) -> Notify:
        """Where a run tells about itself."""
        return self.progress


class Chosen(typer.Typer):
    """Takes only the command of a name from those that are declared on it: making each takes its time."""

    def __init__(self, name: str) -> None:
        super().__init__(rich_markup_mode="rich")
        self.chosen = name


class Listed(typer.Typer):
    """Takes of each command what the page that lists them all shows: making its options takes longer."""

    def __init__(self) -> None:
        super().__init__(rich_markup_mode="rich")
        self.listed: dict[str, Command] = {}

    def add(self, name: str, about: str | None, panel: str) -> None:
        """Put a command or a group on the list."""
        self.listed[name] = Command(name, help=about, rich_help_panel=panel)


def group(app: typer.Typer, name: str, about: str, panel: str) -> typer.Typer:
    """Declare a group of commands."""
    if isinstance(app, Listed):
        app.add(name, about, panel)
        return Listed()
    made = typer.Typer(name=name, cls=Group, help=about, no_args_is_help=True)
    app.add_typer(made, rich_help_panel=panel)
    return made


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    panel: str,
    running: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    formats: tuple[Format, ...] = ANY_RESULT,
    signed: bool = False,
    examples: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Declare a function `f(call, ...)` that returns a result, or a coroutine for one, as a command.

    The common options, except those named in `without`, and those of RUNNING, DUMPING and JUDGING named in
    `running` are added to its own. `formats` are those its result can be written in, such as CHECKS where
    that is always a `Report`. `signed` ones take arguments such as -1, which otherwise would be unknown
    options. `examples` are lines for the end of the help page.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., None]:
        if isinstance(app, Chosen) and app.chosen != (name or function.__name__):
            return function
        if isinstance(app, Listed):
            app.add(name or function.__name__, inspect.getdoc(function), panel)
            return function
        common = {key: (RUNNING | DUMPING | JUDGING)[key] for key in running}
        common |= {key: value for key, value in COMMON.items() if key not in without}
        if "format" not in without:
            common["format"] = Annotated[_choice(formats), _FORMAT]
        # Result is imported for type checkers only; nobody asks for the value of its annotation.
        hints = get_type_hints(function, localns={"Result": object}, include_extras=True)
        hints.pop("return", None)
        hints.pop("call")
        own = [
            parameter.replace(annotation=hints[key])
            for key, parameter in list(inspect.signature(function).parameters.items())[1:]
        ]
        shared = [
            inspect.Parameter(
                key, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(key), annotation=value
            )
            for key, value in common.items()
        ]

        inside = f"{app.info.name} " if isinstance(app.info.name, str) else ""
        title = inside + (name or function.__name__)

        @functools.wraps(function)
        def invoke(**given: Any) -> None:
            from circle_migrate.cli.boundary import finish
            from circle_migrate.cli.progress import Progress

            taken = {key: given.pop(key, None) for key in (*COMMON, *RUNNING, *DUMPING, *JUDGING)}
            flags = {key: taken[key] for key in _FLAGS if taken[key] is not None}
            call = Call(
                title,
                taken["database"],
                flags,
                Format(taken["format"] or Format.TABLE),
                Progress(quiet=bool(taken["quiet"])),
                bool(taken["debug"]),
            )
            finish(call, functools.partial(function, call, **given))

        keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        invoke.__signature__ = inspect.Signature([*keyword, *shared])  # type: ignore[attr-defined]
        invoke.__annotations__ = {**hints, **common}
        del invoke.__wrapped__
        context = {"ignore_unknown_options": True} if signed else None
        epilog = "\n\n".join(["[bold]Examples[/bold]", *examples]) if examples else None
        app.command(name, cls=Command, rich_help_panel=panel, context_settings=context, epilog=epilog)(invoke)
        return invoke

    return declare


def _choice(formats: tuple[Format, ...]) -> type[StrEnum]:
    """An enumeration of these formats alone, for the option's help and its check."""
    members = [(each.name, each.value) for each in formats]
    return StrEnum("Format", members)  # type: ignore[return-value] # mypy knows literal members only


def _hazard_ids() -> Collection[str]:
    from circle_migrate.safety.hazards.loader import HAZARDS

    return HAZARDS
