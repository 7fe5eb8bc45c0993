"""Declare a function as a command: its own parameters, the shared options, and the call of the boundary."""

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from inspect import Parameter
from typing import Any

import typer

from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.help import Command, CommandGroup
from circle_migrate.cli.options import ANY_RESULT, BEFORE_COMMAND, COMMON, OPTIONS, Format


class SingleCommandApp(typer.Typer):
    """An application that keeps only the command of the given name, because creating a command is slow."""

    def __init__(self, name: str) -> None:
        super().__init__(rich_markup_mode="rich")
        self.command_name = name


class CommandListing(typer.Typer):
    """An application that keeps only name, description and panel of a command, for the overview page."""

    def __init__(self) -> None:
        super().__init__(rich_markup_mode="rich")
        self.declared: dict[str, Command] = {}

    def add(self, name: str, description: str | None, panel: str) -> None:
        """Add a command or a group."""
        self.declared[name] = Command(name, help=description, rich_help_panel=panel)


def group(app: typer.Typer, name: str, description: str, panel: str) -> typer.Typer:
    """Declare a group of commands."""
    if isinstance(app, CommandListing):
        app.add(name, description, panel)
    if isinstance(app, CommandListing) or (isinstance(app, SingleCommandApp) and app.command_name != name):
        return CommandListing()
    typer_group = typer.Typer(name=name, cls=CommandGroup, help=description, no_args_is_help=True)
    app.add_typer(typer_group, rich_help_panel=panel)
    return typer_group


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    panel: str,
    options: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    formats: tuple[Format, ...] = ANY_RESULT,
    negative_arguments: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Declare a function `f(context, ...)` that returns a result, or a coroutine for one, as a command.

    `options` are keys of OPTIONS, `without` keys of COMMON that the command does not have. `formats` are the
    output formats of its result. With `negative_arguments` a word such as -1 is an argument, where it
    otherwise is an unknown option. Lines below `Examples:` in the docstring end the help page.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., None]:
        command_name = name or function.__name__
        description, _, examples = (inspect.getdoc(function) or "").partition("\n\nExamples:\n")
        if isinstance(app, SingleCommandApp) and app.command_name != command_name:
            return function
        if isinstance(app, CommandListing):
            app.add(command_name, description, panel)
            return function
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own]
        parameters += [OPTIONS[key] for key in options]
        choices: Any = StrEnum("Format", [(member.name, member.value) for member in formats])  # type: ignore[misc]
        parameters += [
            option.replace(annotation=choices) if key == "format" else option
            for key, option in COMMON.items()
            if key not in without
        ]
        group_name = f"{app.info.name} " if isinstance(app.info.name, str) else ""

        def invoke(**arguments: Any) -> None:
            from circle_migrate.cli.boundary import run_command
            from circle_migrate.cli.progress import Progress

            flags = {key: arguments.pop(key, None) for key in (*COMMON, *OPTIONS)}
            database, output_format, _, no_steps, quiet, verbose, debug = map(flags.pop, BEFORE_COMMAND)
            full_name = group_name + command_name
            progress = Progress(quiet=bool(quiet), steps=not no_steps)
            result_format = Format(output_format or Format.TABLE)
            context = CommandContext(
                full_name, database, flags, result_format, progress, bool(debug), bool(verbose)
            )
            action = functools.partial(function, context, **arguments)
            run_command(context, action, has_result="format" not in without)

        invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        invoke.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(
            command_name,
            cls=Command,
            help=description,
            rich_help_panel=panel,
            context_settings={"ignore_unknown_options": True} if negative_arguments else None,
            epilog="[bold]Examples[/bold]\n" + examples.replace("    ", "\n") if examples else None,
        )(invoke)
        return invoke

    return declare
