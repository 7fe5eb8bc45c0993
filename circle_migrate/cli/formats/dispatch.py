"""Find the module that writes a format; a command imports only that one."""

from __future__ import annotations

from importlib import import_module

from circle_migrate.core.errors import MigrateError, UsageError
from circle_migrate.core.result import Result

FORMATS = {
    "json": "json",
    "junit": "junit",
    "sarif": "sarif",
    "github": "github",
    "gitlab": "gitlab",
    "sql": "sql",
    "alembic": "alembic",
    "patch": "patch",
    "markdown": "safety_markdown",
}
"""The module that writes each format."""

COMPARISONS = frozenset({"sql", "alembic", "patch"})
"""The formats that have differences and nothing else."""


def write(form: str, result: Result) -> str:
    """Return the result in the format. Raises `UsageError` for a result that the format cannot express."""
    from circle_migrate.core.findings import Report
    from circle_migrate.diff.result import DiffResult
    from circle_migrate.safety.losses.report import LossReport

    module = FORMATS[form]
    if form == "markdown" and isinstance(result, LossReport):
        module = "losses_markdown"
    elif form in COMPARISONS and not isinstance(result, DiffResult):
        raise UsageError(
            f"`{result.command}` makes no comparison, and {form} is a format for differences",
            hint="add --format table or --format json",
        )
    elif form != "json" and not isinstance(result, Report):
        raise UsageError(
            f"`{result.command}` makes no checks, and {form} is a format for checks",
            hint="add --format table or --format json",
        )
    text: str = import_module(f"circle_migrate.cli.formats.{module}").write(result)
    return text


def write_failure(form: str, command: str, error: MigrateError) -> str:
    """Return the error of a command without a result; in formats for checks it is a failed check."""
    if form == "json":
        from circle_migrate.cli.formats.json import write_failure as write_json

        return write_json(command, error)
    from circle_migrate.core.findings import Check, Report, from_error
    from circle_migrate.diff.result import DiffResult

    check = Check("run", "The command can run", (from_error(error),))
    kind = DiffResult if form in COMPARISONS else Report
    return write(form, kind(command, (check,)))
