"""Write results to stdout, and errors and progress to stderr; a command imports only the format it needs."""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from importlib import import_module
from io import StringIO
from typing import TYPE_CHECKING, Any, TextIO, cast

from typer import Exit, TyperException

from circle_migrate.cli.console import PlainConsole, console
from circle_migrate.cli.options import Format
from circle_migrate.core.errors import MigrateError, UsageError
from circle_migrate.core.result import Result

if TYPE_CHECKING:
    from rich.console import Console

DIFFERENCES = (Format.SQL, Format.ALEMBIC, Format.PATCH)
"""The formats that have differences and nothing else."""

_RENDERERS = {
    "run": "MigrationResult PlanResult ScriptResult RecoverResult LogResult SourceResult LossReport",
    "listing": "CurrentResult RevisionList RevisionFilesResult ConfigurationResult ServerResult SchemaResult "
    "DiagramResult MetricsResult StatusResult SquashResult RebaseResult",
    "diff": "DiffResult SnapshotResult",
    "report": "Report ConsistencyResult",
    "safety": "StatsResult SafetyReport HazardList",
    "adopt": "AdoptResult",
    "backup": "BackupResult BackupList RestoreResult KeptEntries ProtectionResult AcceptedDrift",
}
"""The classes of results by the module of `render` with the function for each, which has its name."""


def success(result: Result, output_format: Format) -> None:
    """Write a result to stdout; a reader that has closed the pipe is no error."""
    try:
        if output_format is Format.TABLE:
            render(result, console(sys.stdout))
        else:
            sys.stdout.write(format_result(output_format, result))
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich raises SystemExit for a broken pipe
        discard(sys.stdout)
    except OSError as error:
        if error.filename is not None:  # a file that is no stream
            raise
        discard(sys.stdout)
        report_lost_output(result, f"the result cannot be written to stdout: {error.strerror}")
    if output_format is Format.GITHUB:
        _append_job_summary(result)


def render(result: Result, console: Console) -> None:
    """Write a result to the console as a table."""
    modules = {name: module for module, names in _RENDERERS.items() for name in names.split()}
    names = [base.__name__ for base in type(result).__mro__]
    name = next(filter(modules.__contains__, names), names[0])
    function = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    getattr(import_module(f"circle_migrate.cli.render.{modules[name]}"), function)(result, console)


def format_result(output_format: str, result: Result) -> str:
    """Return the result in the format. Raises `UsageError` for a result that the format cannot express."""
    if output_format == Format.TABLE:
        text = StringIO()
        render(result, cast("Any", PlainConsole(text)))
        return text.getvalue()
    if output_format != Format.JSON:
        from circle_migrate.core.findings import Report
        from circle_migrate.diff.result import DiffResult
        from circle_migrate.migrate.result import PlanResult
        from circle_migrate.safety.losses.report import LossReport

        kinds: tuple[type[Result], ...] = (DiffResult,) if output_format in DIFFERENCES else (Report,)
        kinds += (LossReport, PlanResult) if output_format == Format.MARKDOWN else ()
        if not isinstance(result, kinds):
            raise UsageError(
                f"this result of `{result.command}` cannot be written as {output_format}",
                hint="add --format table or --format json",
            )
    module, function = (
        ("comparison", output_format) if output_format in DIFFERENCES else (output_format, "write")
    )
    formatted: str = getattr(import_module(f"circle_migrate.cli.formats.{module}"), function)(result)
    return formatted


def format_failure(output_format: str, command: str, error: MigrateError) -> str:
    """Return the error of a command without a result; in formats for checks it is a failed check."""
    if output_format == Format.TABLE:
        return "\n".join(error_lines(error)) + "\n"
    if output_format == Format.JSON:
        from circle_migrate.cli.formats.json import write_failure

        return write_failure(command, error)
    from circle_migrate.core.findings import Check, Report, from_error
    from circle_migrate.diff.result import DiffResult

    check = Check("run", "The command can run", (from_error(error),))
    report_class = DiffResult if output_format in DIFFERENCES else Report
    return format_result(output_format, report_class(command, (check,)))


def report_lost_output(result: Result, message: str) -> None:
    """Write the message to stderr, and end with 2 unless the result has another exit status."""
    usage_error = UsageError(
        message,
        state=f"the command has done its work, with exit status {int(result.exit_code)}; its output is lost",
        hint="write the output to another place",
    )
    failure(usage_error, result.command, Format.TABLE)
    if not result.exit_code:
        raise Exit(int(usage_error.status)) from None


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
        report_lost_output(result, f"the job summary cannot be written to {path}: {error.strerror}")


def failure(error: MigrateError, command: str, output_format: Format) -> None:
    """Write an error to stderr, and to stdout in any format but a table."""
    if output_format is not Format.TABLE:
        try:
            sys.stdout.write(format_failure(output_format, command, error))
            sys.stdout.flush()
        except OSError:  # the error is on stderr, too
            discard(sys.stdout)
    write_stderr(*error_lines(error))


def error_lines(error: MigrateError) -> list[str]:
    """Return an error as text."""
    from circle_migrate.cli.render.widgets import detail_label, hint_lines, relative

    lines = [f"error: {error.message}"]
    for label, text in (
        ("at", error.location and relative(error.location)),
        (detail_label(error.detail or ""), error.detail),
        ("state", error.state),
        ("hint", error.hint and "\n".join(hint_lines(error.hint))),
    ):
        if text:
            lines.append(f"  {label:<6} " + text.replace("\n", "\n         "))
    return lines


def write_stderr(*lines: str) -> None:
    """Write lines to stderr as `visible_lines`; all text but the views of a run's progress goes this way."""
    from circle_migrate.cli.formats.sanitize import visible_lines

    try:
        sys.stderr.write(visible_lines("\n".join(lines)) + "\n")
        sys.stderr.flush()
    except OSError:  # the exit status remains
        discard(sys.stderr)


def show_usage_error(error: TyperException) -> None:
    """Write the error to stderr."""
    context = getattr(error, "ctx", None)
    text = error.format_message().replace("Value error, ", "")  # from pydantic, which Typer converts with
    hint = f"{context.command_path} --help" if context else None
    if context and text.startswith("Got unexpected extra argument") and "database" in context.params:
        hint = f"select databases with -d NAME\n{hint}"
    failure(UsageError(text[:1].lower() + text[1:].removesuffix("."), hint=hint), "", Format.TABLE)
