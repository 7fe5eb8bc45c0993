"""Errors in the command line, written like every other error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer import TyperException
from typer._click.exceptions import NoArgsIsHelpError

from circle_migrate.cli.output_format import Format
from circle_migrate.cli.write import failure, write_stderr
from circle_migrate.core.errors import UsageError

if TYPE_CHECKING:
    from typer._click import Context


def show_usage_error(error: TyperException) -> None:
    """Write the error to stderr; for a group without a command its help page."""
    context: Context | None = getattr(error, "ctx", None)
    text = error.format_message()
    if not isinstance(error, NoArgsIsHelpError):
        hint = f"{context.command_path} --help" if context else None
        failure(UsageError(text[:1].lower() + text[1:].removesuffix("."), hint=hint), "", Format.TABLE)
    elif text:  # empty where rich has drawn the page on a terminal
        write_stderr(text)
