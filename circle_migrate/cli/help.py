"""Help pages: drawn by rich on a terminal, otherwise plain text without importing rich."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from typer._click.core import Command as AnyCommand
from typer.core import TyperGroup

from circle_migrate.cli.console import is_terminal

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

_MARKUP = re.compile(r"\[/?(?:bold|dim)\]")
_NO_LIMIT = 1_000
"""Maximum length of a command's short help in characters, so long that it is never truncated."""


class Help(AnyCommand):
    """A command or group whose plain text page has the same panels as the drawn one."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the page."""
        if is_terminal(sys.stdout):
            super().format_help(ctx, formatter)
        else:
            AnyCommand.format_help(self, ctx, formatter)

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
