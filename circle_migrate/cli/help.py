"""Commands with help pages of one structure, which import rich and pydantic only where they must.

Typer converts every value, also a default, through a pydantic adapter; importing pydantic takes about as long
as a query on two databases, and most values need no conversion. Typer has no option for this, so its private
classes are used here; the test of what a command imports fails when a later version works differently.
"""

import re
import sys
from enum import Enum
from typing import Any

from typer import BadParameter
from typer._click import Context, HelpFormatter, Parameter
from typer._click.core import Command as AnyCommand
from typer._coercion import RuntimeParam, build_runtime_param
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from circle_migrate.cli.console import is_terminal

_MARKUP = re.compile(r"\[/?(?:bold|dim)\]")
_PANELS = (None, "Safety", "Run", "Connection", "Output")
"""The panels of options, in the order of a help page; the first are those without a panel."""

_NO_LIMIT = 1_000
"""Maximum length of a command's short help in characters, so long that it is never truncated."""


class _Page(AnyCommand):
    """A command or group with `LazyParam`s whose plain text page has the same panels as the drawn one."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        if is_terminal(sys.stdout):
            super().format_help(ctx, formatter)
        else:
            AnyCommand.format_help(self, ctx, formatter)

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Return the parameters, with `--help`."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if isinstance(parameter, TyperArgument | TyperOption):
                kind = parameter.type_descriptor
                parameter._runtime_param = LazyParam(kind.parameter_info, kind.annotation)
                parameter._get_number_range_help_str = _nothing  # type: ignore[method-assign]
                if isinstance(parameter, TyperArgument) or parameter.is_flag:
                    parameter.display_type_rich = _nothing  # type: ignore[method-assign]
                if isinstance(text := parameter.show_default, str):  # Typer writes it in parentheses
                    parameter._get_default_string = lambda text=text, **_: text  # type: ignore[method-assign]
        return sorted(parameters, key=lambda parameter: _PANELS.index(_panel(parameter)))

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write arguments, options and the commands of a group below the headings of their panels."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                default = "Arguments" if param.param_type_name == "argument" else "Options"
                panels.setdefault(_panel(param) or default, []).append(record)
        if isinstance(self, TyperGroup):
            for name in self.list_commands(ctx):
                command = self.get_command(ctx, name)
                if command is not None and not command.hidden:
                    record = (name, command.get_short_help_str(_NO_LIMIT))
                    panels.setdefault(_panel(command) or "Commands", []).append(record)
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - Typer's signature
        """Write the text below the options, a line for each paragraph."""
        for line in filter(None, (self.epilog or "").splitlines()):
            text = _MARKUP.sub("", line)
            formatter.write(f"\n{text}:\n" if line.startswith("[bold]") else f"  {text}\n")


def _panel(part: object) -> str | None:
    """Return the panel of a command or parameter; `--help` has none."""
    return getattr(part, "rich_help_panel", None)


def _nothing(ctx: Context | None = None) -> None:
    """Replace the Python type and the range of numbers that Typer shows beside a parameter."""


class Command(_Page, TyperCommand):
    """The class of every command."""


class CommandGroup(_Page, TyperGroup):
    """The class of every group of commands."""


class LazyParam(RuntimeParam):
    """A converter that passes on strings, choices and converted values, and leaves the rest to Typer."""

    def _coerce_value(self, value: Any, param: Any, ctx: Context) -> Any:
        kind = self.annotation
        if kind == list[str]:
            return list(value)
        if isinstance(kind, type) and isinstance(value, kind):
            return value
        if isinstance(kind, type) and issubclass(kind, Enum):
            choices = [str(member.value) for member in kind]
            if value not in choices:
                raise BadParameter(f"{value!r} is none of {', '.join(choices)}", ctx=ctx, param=param)
            return kind(value)
        return build_runtime_param(param.type_descriptor)._coerce_value(value, param=param, ctx=ctx)
