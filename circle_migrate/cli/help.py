"""Help pages: drawn by rich on a terminal, plain text anywhere else, for which rich is not even imported."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from typer._click.core import Command as AnyCommand
from typer.core import TyperGroup

from circle_migrate.cli.console import is_terminal

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

_MARKUP = re.compile(r"\[/?(?:bold|dim)\]")
_WHOLE = 1_000
"""Characters of a command's short help, which is never cut."""


class Help(AnyCommand):
    """A command or group whose page is sorted by panels as text too."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the page."""
        if is_terminal(sys.stdout):
            super().format_help(ctx, formatter)
        else:
            AnyCommand.format_help(self, ctx, formatter)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write arguments, options, and the commands of a group."""
        records: list[tuple[str, tuple[str, str]]] = []
        for get_param in self.get_params(ctx):
            record = get_param.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if get_param.param_type_name == "argument" else "Options"
                records.append((_panel(get_param) or usual, record))
        if isinstance(self, TyperGroup):
            for name in self.list_commands(ctx):
                command = self.get_command(ctx, name)
                if command is not None and not command.hidden:
                    about = command.get_short_help_str(_WHOLE)
                    records.append((_panel(command) or "Commands", (name, about)))
        _write(formatter, records)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - Typer's signature
        """Write what stands below, a line for each paragraph."""
        for line in filter(None, (self.epilog or "").splitlines()):
            heading = line.startswith("[bold]")
            text = _MARKUP.sub("", line)
            formatter.write(f"\n{text}:\n" if heading else f"  {text}\n")


def _panel(part: object) -> str | None:
    """The panel a command or parameter was declared for; parts of the command line need not have one."""
    return getattr(part, "rich_help_panel", None)


def _write(formatter: HelpFormatter, records: Iterable[tuple[str, tuple[str, str]]]) -> None:
    """Write records below the headings of their panels, in the order of first use."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for panel, record in records:
        panels.setdefault(panel, []).append(record)
    for panel, each in panels.items():
        with formatter.section(panel):
            formatter.write_dl(each)
