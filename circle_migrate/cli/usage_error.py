"""A wrong command line is told like every other error: plainly, with what to type next."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from typer import TyperException
from typer._click.exceptions import NoArgsIsHelpError

from circle_migrate.cli import write as output
from circle_migrate.cli.output_format import Format
from circle_migrate.core.errors import UsageError

if TYPE_CHECKING:
    from typer._click import Context


def show_usage_error(misuse: TyperException) -> None:
    """Write to stderr what is wrong; the help page where a group was given no command."""
    context: Context | None = getattr(misuse, "ctx", None)
    text = misuse.format_message()
    if isinstance(misuse, NoArgsIsHelpError):
        # Empty where the page was drawn on a terminal.
        sys.stderr.write(f"{text}\n" if text else "")
        return
    message = text[:1].lower() + text[1:].removesuffix(".")
    hint = f"{context.command_path} --help" if context else None
    output.failure(UsageError(message, hint=hint), "", Format.TABLE)
