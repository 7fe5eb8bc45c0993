"""Write results to stdout, and errors and progress to stderr."""

import errno
import os
import sys
from contextlib import suppress
from typing import TextIO

from typer import Exit, TyperException
from typer._click import Context
from typer._click.exceptions import NoArgsIsHelpError

from circle_migrate.cli.console import console
from circle_migrate.cli.options import Format
from circle_migrate.core.errors import MigrateError, UsageError
from circle_migrate.core.result import Result


def success(result: Result, form: Format) -> None:
    """Write a result to stdout; a reader that has closed the pipe is no error."""
    try:
        if form is Format.TABLE:
            from circle_migrate.cli.render.dispatch import render

            render(result, console(sys.stdout))
        else:
            from circle_migrate.cli.formats.dispatch import write

            sys.stdout.write(write(form, result))
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich raises SystemExit for a broken pipe
        discard(sys.stdout)
    except OSError as error:
        if error.filename is not None:  # a file that is no stream
            raise
        discard(sys.stdout)
        _unwritten(result, "the result cannot be written to stdout", error)
    if form is Format.GITHUB:
        _append_job_summary(result)


def _unwritten(result: Result, message: str, error: OSError) -> None:
    """Write the error to stderr, and end with 2 unless the result has another exit status."""
    unwritten = UsageError(
        f"{message}: {error.strerror}",
        state=f"the command has done its work, with exit status {int(result.exit_code)}; its output is lost",
        hint="write the output to another place",
    )
    failure(unwritten, result.command, Format.TABLE)
    if not result.exit_code:
        raise Exit(int(unwritten.status)) from None


def discard(stream: TextIO) -> None:
    """Send the rest of a stream to the null device: Python's buffer would raise again at exit."""
    with suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as null:  # noqa: PTH123
        os.dup2(null.fileno(), stream.fileno())


def _append_job_summary(result: Result) -> None:
    """Append the report to the job summary of a GitHub workflow, which limits only annotations to a few."""
    from circle_migrate.cli.formats.github import summary
    from circle_migrate.core.findings import Report

    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path or not isinstance(result, Report):
        return
    text = summary(result).encode()
    try:
        with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - pathlib cannot append
            size = file.tell()
            try:
                if file.write(text) != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with suppress(OSError):
                    file.truncate(size)
                raise
    except OSError as error:
        _unwritten(result, f"the job summary cannot be written to {path}", error)


def failure(error: MigrateError, command: str, form: Format) -> None:
    """Write an error to stderr, and to stdout in any format but a table."""
    if form is not Format.TABLE:
        from circle_migrate.cli.formats.dispatch import write_failure

        try:
            sys.stdout.write(write_failure(form, command, error))
            sys.stdout.flush()
        except OSError:  # the error is on stderr, too
            discard(sys.stdout)
    from circle_migrate.cli.render.widgets import detail_label, relative

    lines = [f"error: {error.message}"]
    for label, text in (
        ("at", error.location and relative(error.location)),
        (detail_label(error.detail or ""), error.detail),
        ("state", error.state),
        ("hint", error.hint),
    ):
        if text:
            lines.append(f"  {label:<6} " + text.replace("\n", "\n         "))
    write_stderr(*lines)


def write_stderr(*lines: str) -> None:
    """Write lines to stderr as `visible_lines`; all text but the views of a run's progress goes this way."""
    from circle_migrate.cli.formats.sanitize import visible_lines

    try:
        sys.stderr.write(visible_lines("\n".join(lines)) + "\n")
        sys.stderr.flush()
    except OSError:  # the exit status remains
        discard(sys.stderr)


def show_usage_error(error: TyperException) -> None:
    """Write the error to stderr; for a group without a command its help page."""
    context: Context | None = getattr(error, "ctx", None)
    text = error.format_message()
    if not isinstance(error, NoArgsIsHelpError):
        hint = f"{context.command_path} --help" if context else None
        failure(UsageError(text[:1].lower() + text[1:].removesuffix("."), hint=hint), "", Format.TABLE)
    elif text:  # empty where rich has drawn the page on a terminal
        write_stderr(text)
