"""Write a result by the module with the name of the format; a command imports only that one."""

from importlib import import_module

from circle_migrate.core.errors import MigrateError, UsageError
from circle_migrate.core.result import Result

COMPARISONS = frozenset({"sql", "alembic", "patch"})
"""The formats that have differences and nothing else."""


def write(form: str, result: Result) -> str:
    """Return the result in the format. Raises `UsageError` for a result that the format cannot express."""
    if form != "json":
        _ensure_expressible(form, result)
    text: str = import_module(f"circle_migrate.cli.formats.{form}").write(result)
    return text


def _ensure_expressible(form: str, result: Result) -> None:
    from circle_migrate.core.findings import Report
    from circle_migrate.diff.result import DiffResult
    from circle_migrate.safety.losses.report import LossReport

    kinds: tuple[type[Result], ...] = (Report, LossReport) if form == "markdown" else (Report,)
    made = content = "checks"
    if form in COMPARISONS:
        kinds, made, content = (DiffResult,), "comparison", "differences"
    if not isinstance(result, kinds):
        raise UsageError(
            f"`{result.command}` makes no {made}, and {form} is a format for {content}",
            hint="add --format table or --format json",
        )


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
