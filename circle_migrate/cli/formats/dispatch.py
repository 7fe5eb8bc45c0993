"""Find the module that writes a format; only that one is imported."""

from __future__ import annotations

from importlib import import_module

from circle_migrate.core.errors import MigrateError, UsageError
from circle_migrate.core.result import Result

FORMATS = {
    "json": "circle_migrate.cli.formats.json",
    "junit": "circle_migrate.cli.formats.junit",
    "sarif": "circle_migrate.cli.formats.sarif",
    "github": "circle_migrate.cli.formats.github",
    "gitlab": "circle_migrate.cli.formats.gitlab",
    "sql": "circle_migrate.cli.formats.sql",
    "alembic": "circle_migrate.cli.formats.alembic",
    "patch": "circle_migrate.cli.formats.patch",
    "markdown": "circle_migrate.cli.formats.safety_markdown",
}
"""The module that writes each format; loaded when it is asked for."""


COMPARISONS = frozenset({"sql", "alembic", "patch"})
"""The formats that show differences and nothing else."""


def write(form: str, result: Result) -> str:
    """The result in the format. Raises `UsageError` where the format is for what the result has not."""
    from circle_migrate.core.findings import Report
    from circle_migrate.diff.result import DiffResult
    from circle_migrate.safety.losses.report import LossReport

    if form == "markdown" and isinstance(result, LossReport):
        from circle_migrate.cli.formats.losses_markdown import write as write_losses

        return write_losses(result)
    if form in COMPARISONS and not isinstance(result, DiffResult):
        raise UsageError(
            f"`{result.command}` compares nothing, and {form} is a format for differences",
            hint="--format table or --format json",
        )
    if form != "json" and not isinstance(result, Report):
        raise UsageError(
            f"`{result.command}` makes no checks, and {form} is a format for checks",
            hint="--format table or --format json",
        )
    text: str = import_module(FORMATS[form]).write(result)
    return text


def write_failure(form: str, command: str, error: MigrateError) -> str:
    """The error that ended a command before there was a result: for checks, as the one that failed."""
    if form == "json":
        from circle_migrate.cli.formats.json import write_failure as write_json

        return write_json(command, error)
    from circle_migrate.core.findings import Check, Report, from_error
    from circle_migrate.diff.result import DiffResult

    check = Check("run", "The command can run", (from_error(error),))
    kind = DiffResult if form in COMPARISONS else Report
    return write(form, kind(command, (check,)))
