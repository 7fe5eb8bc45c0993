"""Results to stdout, errors and progress to stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from circle_migrate.cli.console import console
from circle_migrate.cli.output_format import Format
from circle_migrate.core.redaction import redact

if TYPE_CHECKING:
    from circle_migrate.core.errors import MigrateError
    from circle_migrate.core.result import Result


def success(result: Result, form: Format) -> None:
    """Write a result to stdout; a reader that has gone away is none of the command's business."""
    try:
        if form is Format.TABLE:
            from circle_migrate.cli.render.dispatch import render

            render(result, console(sys.stdout))
        else:
            from circle_migrate.cli.formats.dispatch import write

            sys.stdout.write(write(form, result))
            _summarise(form, result)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich turns the one into the other
        # What remains in Python's buffer would raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _summarise(form: Format, result: Result) -> None:
    """In a GitHub workflow, add the whole report to the job's summary; annotations are few."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if form is Format.GITHUB and path:
        from circle_migrate.cli.formats.github import summary
        from circle_migrate.core.findings import Report

        if not isinstance(result, Report):
            return
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - appended to, as the runner asks
            file.write(summary(result))


def failure(error: MigrateError, command: str, form: Format) -> None:
    """Write an error: for people to stderr, and in any format but a table to stdout too."""
    if form is not Format.TABLE:
        from circle_migrate.cli.formats.dispatch import write_failure

        sys.stdout.write(write_failure(form, command, error))
        sys.stdout.flush()
    for line in _lines(error):
        sys.stderr.write(redact(line) + "\n")
    sys.stderr.flush()


def _lines(error: MigrateError) -> list[str]:
    parts = [
        ("  at     ", _relative(error.location)),
        ("  server " if "SQLSTATE" in (error.detail or "") else "  cause  ", error.detail),
        ("  state  ", error.state),
        ("  hint   ", error.hint),
    ]
    message = f"error: {error.message}"
    indented = (label + str(text).replace("\n", "\n         ") for label, text in parts if text)
    return [message, *indented]


def _relative(location: str | None) -> str | None:
    here = os.getcwd() + os.sep  # noqa: PTH109 - a prefix to cut, not a path to use
    return location.removeprefix(here) if location else None


def progress_line(text: str) -> None:
    """One line about what is going on, to stderr."""
    sys.stderr.write(redact(text) + "\n")
    sys.stderr.flush()
