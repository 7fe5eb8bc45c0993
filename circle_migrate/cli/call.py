"""What every command shares: its options, its way to the settings and the databases, and how it ends."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from circle_migrate.cli.parameters import Command

if TYPE_CHECKING:
    from circle_migrate.cli.progress import Progress
    from circle_migrate.core.events import Notify
    from circle_migrate.deployment import Deployment
    from circle_migrate.settings import Settings


class Transaction(StrEnum):
    """How many steps share a transaction."""

    ALL = "all"
    PER_REVISION = "per-revision"


class Format(StrEnum):
    """How a result is written to stdout; all but the first two are for commands that make checks."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"
    GITLAB = "gitlab"


ANY_RESULT = (Format.TABLE, Format.JSON)
CHECKS = tuple(Format)


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
}

_DEFAULTS = {"format": Format.TABLE, "quiet": False, "debug": False}
_FLAGS = ("database_url", "creds_database_url", "embedded", "embedded_data", *RUNNING)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a command with the options every command has."""

    command: str
    database: str | None
    flags: dict[str, object]
    format: Format
    progress: Progress
    debug: bool

    def settings(self) -> Settings:
        """The settings that hold. Raises `SettingsError` with every problem."""
        from circle_migrate.settings import load

        settings = load(self.flags)
        if self.debug:
            for note in settings.notes:
                self.say(note)
        return settings

    def deployment(self) -> Deployment:
        """The databases, on the embedded server where the settings ask for it; that one is started."""
        from circle_migrate.deployment import Deployment

        settings = self.settings()
        if not settings.embedded:
            return Deployment(settings, self.database)
        from circle_migrate.embedded import addressed, server

        return Deployment(addressed(settings, server(settings).start()), self.database)

    def files(self) -> Deployment:
        """The trees alone: no URL is needed and no server started."""
        from circle_migrate.deployment import Deployment

        return Deployment(self.settings(), self.database)

    async def ready(self, deployment: Deployment) -> Deployment:
        """The deployment with the databases of the embedded server made where they are missing."""
        if deployment.settings.embedded:
            from circle_migrate.create import create_missing

            await create_missing(deployment)
        return deployment

    def say(self, text: str) -> None:
        """A line of progress."""
        self.progress.say(text)

    def notify(self) -> Notify:
        """Where a run tells about itself."""
        return self.progress


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    panel: str,
    running: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    formats: tuple[Format, ...] = ANY_RESULT,
    signed: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Declare a function `f(call, ...)` that returns a result, or a coroutine for one, as a command.

    The common options, except those named in `without`, and those of RUNNING named in `running` are added
    to its own. `formats` are those its result can be written in: CHECKS where that is always a `Report`.
    `signed` ones take arguments such as -1, which otherwise would be unknown options.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., None]:
        common = {key: RUNNING[key] for key in running}
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

        group = f"{app.info.name} " if isinstance(app.info.name, str) else ""
        title = group + (name or function.__name__)

        @functools.wraps(function)
        def invoke(**given: Any) -> None:
            from circle_migrate.cli.boundary import finish
            from circle_migrate.cli.progress import Progress

            taken = {key: given.pop(key, None) for key in (*COMMON, *RUNNING)}
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
        app.command(name, cls=Command, rich_help_panel=panel, context_settings=context)(invoke)
        return invoke

    return declare


def _choice(formats: tuple[Format, ...]) -> type[StrEnum]:
    """An enumeration of these formats alone, for the option's help and its check."""
    members = [(each.name, each.value) for each in formats]
    return StrEnum("Format", members)  # type: ignore[return-value] # mypy knows literal members only
