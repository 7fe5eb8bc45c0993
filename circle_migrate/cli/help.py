"""Commands whose help pages are the same on a terminal and elsewhere."""

import os
import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from circle_migrate.cli.console import is_terminal
from circle_migrate.core.errors import ExitCode

_PANELS = (None, "Safety", "Run", "Connection", "Output")
"""The panels of options, in the order of a help page; the first are those without a panel."""

_NO_LIMIT = 1_000
"""Maximum length of a command's short help in characters, so long that it is never truncated."""

if TYPE_CHECKING:
    _Base = TyperCommand
else:
    _Base = object


class _Page(_Base):
    """A command or group whose page has the options below the headings of their panels."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with `--help`."""
        return sorted(super().get_params(ctx), key=lambda parameter: _PANELS.index(_panel(parameter)))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page, with colours where the output has them."""
        ctx.color = is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")
        super().format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, options and the commands of a group."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            names, text = param.get_help_record(ctx)
            heading = "Options"
            if param.param_type_name == "argument":
                heading, names = "Arguments", param.metavar
            panels.setdefault(_panel(param) or heading, []).append((names, text))
        group: Any = self
        for name in group.list_commands(ctx) if isinstance(group, TyperGroup) else ():
            command = group.get_command(ctx, name)
            record = (name, command.get_short_help_str(_NO_LIMIT))
            panels.setdefault(_panel(command) or "Commands", []).append(record)
        for panel, records in panels.items():
            with formatter.section(_heading(panel, ctx)):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the text below the options unchanged, with an empty line before each heading."""
        for line in (self.epilog or "").splitlines():
            formatter.write(f"{line}\n" if line.startswith(" ") else f"\n{_heading(line, ctx)}\n")


def _heading(text: str, ctx: Any) -> str:
    return typer.style(text, bold=True) if ctx.color else text


def _panel(part: object) -> str | None:
    """Return the panel of a command or parameter; `--help` has none."""
    return getattr(part, "rich_help_panel", None)


class Command(_Page, TyperCommand):
    """The class of every command."""


class CommandGroup(_Page, TyperGroup):
    """The class of every group of commands; `default` is the command that runs where no other is named."""

    default: str | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; without any and without a default, write the help page to stderr."""
        if self.default and args[:1] not in (["-h"], ["--help"]):
            name = next((text for text in args if text in self.commands), None)
            if name:
                args.remove(name)
            args = [name or self.default, *args]
        if not args and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx), err=True)
            raise typer.Exit(ExitCode.USAGE)
        return super().parse_args(ctx, args)
