"""What every command shares: its options, its way to the settings and the databases, and how it ends."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, get_type_hints

import typer

from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.lazy_parameters import Command, Group
from circle_migrate.cli.output_format import ANY_RESULT, Format
from circle_migrate.cli.safety_options import JUDGING
from circle_migrate.cli.shared_options import COMMON, DUMPING, FORMAT, RUNNING

_DEFAULTS = {"format": Format.TABLE, "quiet": False, "debug": False}
_FLAGS = ("database_url", "creds_database_url", "embedded", "embedded_data", *RUNNING, *DUMPING, *JUDGING)


class SingleCommandApp(typer.Typer):
    """Takes only the command of a name from those that are declared on it: making each takes its time."""

    def __init__(self, name: str) -> None:
        super().__init__(rich_markup_mode="rich")
        self.chosen = name


class CommandListing(typer.Typer):
    """Takes of each command what the page that lists them all shows: making its options takes longer."""

    def __init__(self) -> None:
        super().__init__(rich_markup_mode="rich")
        self.listed: dict[str, Command] = {}

    def add(self, name: str, about: str | None, panel: str) -> None:
        """Put a command or a group on the list."""
        self.listed[name] = Command(name, help=about, rich_help_panel=panel)


def group(app: typer.Typer, name: str, about: str, panel: str) -> typer.Typer:
    """Declare a group of commands."""
    if isinstance(app, CommandListing):
        app.add(name, about, panel)
        return CommandListing()
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
        if isinstance(app, SingleCommandApp) and app.chosen != (name or function.__name__):
            return function
        if isinstance(app, CommandListing):
            app.add(name or function.__name__, inspect.getdoc(function), panel)
            return function
        common = {key: (RUNNING | DUMPING | JUDGING)[key] for key in running}
        common |= {key: value for key, value in COMMON.items() if key not in without}
        if "format" not in without:
            common["format"] = Annotated[_choice(formats), FORMAT]
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
            from circle_migrate.cli.boundary import run_command
            from circle_migrate.cli.progress import Progress

            taken = {key: given.pop(key, None) for key in (*COMMON, *RUNNING, *DUMPING, *JUDGING)}
            flags = {key: taken[key] for key in _FLAGS if taken[key] is not None}
            call = CommandContext(
                title,
                taken["database"],
                flags,
                Format(taken["format"] or Format.TABLE),
                Progress(quiet=bool(taken["quiet"])),
                bool(taken["debug"]),
            )
            run_command(call, functools.partial(function, call, **given))

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
