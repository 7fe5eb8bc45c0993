"""Declare a function as a command: its own parameters, the shared options, and the call of the boundary."""

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from inspect import Parameter
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.help import Command, CommandGroup
from circle_migrate.cli.options import ANY_RESULT, COMMON, NO_SETTINGS, OPTIONS, Format


class Declaration(NamedTuple):
    """A command or group: what the page of all commands shows, and what adds it to an application."""

    name: str
    help: str
    panel: str
    add_to: Callable[[typer.Typer], None]

    def create(self) -> TyperCommand | TyperGroup:
        """Create the command."""
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.callback()(lambda: None)  # so that it is a group
        self.add_to(app)
        commands: Any = typer.main.get_command(app)
        created: TyperCommand | TyperGroup = commands.commands[self.name]
        return created


Declarations = list[Declaration]


def group(
    parent: Declarations, name: str, description: str, panel: str, default: str | None = None
) -> Declarations:
    """Declare a group, and return the list for the declarations of its commands.

    The command `default` runs where the arguments name none.
    """
    declarations: Declarations = []

    def add_to(app: typer.Typer) -> None:
        group_class = type("Group", (CommandGroup,), {"default": default})
        typer_group = typer.Typer(name=name, cls=group_class, help=description, rich_markup_mode=None)
        for declaration in declarations:
            declaration.add_to(typer_group)
        app.add_typer(typer_group, rich_help_panel=panel)

    parent.append(Declaration(name, description, panel, add_to))
    return declarations


def command(
    declarations: Declarations,
    name: str | None = None,
    *,
    panel: str,
    options: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    formats: tuple[Format, ...] = ANY_RESULT,
    negative_arguments: bool = False,
    full_name: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function `f(context, ...)` that returns a result, or a coroutine for one, as a command.

    `options` are keys of OPTIONS, `without` keys of COMMON that the command does not have. `formats` are the
    output formats of its result. With `negative_arguments` a word such as -1 is an argument, where it
    otherwise is an unknown option. `full_name` is the name in results. Lines below
    `Examples:` in the docstring end the help page.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        command_name = name or function.__name__
        description, _, examples = (inspect.getdoc(function) or "").partition("\n\nExamples:\n")

        def add_to(app: typer.Typer) -> None:
            group_name = f"{app.info.name} " if isinstance(app.info.name, str) else ""
            app.command(
                command_name,
                cls=Command,
                help=description,
                rich_help_panel=panel,
                context_settings={"ignore_unknown_options": True} if negative_arguments else None,
                epilog="Examples:\n" + examples.replace("    ", "  ") if examples else None,
            )(_with_options(function, full_name or group_name + command_name, options, without, formats))

        declarations.append(Declaration(command_name, description, panel, add_to))
        return function

    return declare


def _with_options(
    function: Callable[..., Any],
    full_name: str,
    options: tuple[str, ...],
    without: tuple[str, ...],
    formats: tuple[Format, ...],
) -> Callable[..., None]:
    """Return a function that has the options of a command as parameters, and runs the command."""
    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own]
    parameters += [OPTIONS[key] for key in (*options, *(("report",) if formats is not ANY_RESULT else ()))]
    choices: Any = StrEnum("Format", [(member.name, member.value) for member in formats])  # type: ignore[misc]
    parameters += [
        option.replace(annotation=choices) if key == "format" else option
        for key, option in COMMON.items()
        if key not in without
    ]

    def invoke(**arguments: Any) -> None:
        from circle_migrate.cli.boundary import run_command
        from circle_migrate.cli.event_log import EventLog
        from circle_migrate.cli.progress import Progress
        from circle_migrate.cli.reports import ReportFiles
        from circle_migrate.core.envelope import use_environment

        flags = {key: arguments.pop(key, None) for key in (*COMMON, *OPTIONS)}
        database, output_format, _, no_steps, quiet, verbose, debug = map(flags.pop, NO_SETTINGS)
        use_environment(flags["env"])
        reports = ReportFiles(flags.pop("report") or (), formats)
        events = EventLog(full_name, flags.pop("events"))
        progress = Progress(quiet=bool(quiet), steps=not no_steps, log=events)
        result_format = Format(output_format or Format.TABLE)
        context = CommandContext(
            full_name, database, flags, result_format, progress, bool(debug), bool(verbose), reports, events
        )
        action = functools.partial(function, context, **arguments)
        run_command(context, action, has_result="format" not in without)

    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    invoke.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return invoke
