"""Describe losses for the people who have to accept them."""

from collections.abc import Iterator
from datetime import datetime

from circle_migrate.core.byte_size import format_bytes
from circle_migrate.safety.losses.report import Count, Dependents, Effect, Loss, LossReport, Method, Precision

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_METHODS = {
    Method.SCRATCH: "ran on scratch databases",
    Method.REHEARSAL: "ran on the live databases and was rolled back",
    Method.SNAPSHOTS: "was derived from the snapshots of its revisions",
    Method.NO_DATA: "was not tried on scratch databases, as no table has rows",
}


def describe_loss(loss: Loss, at: datetime) -> str:
    """Describe the amount of a loss in one line, as of the time `at`."""
    parts = [
        *_amounts(loss),
        _last_written(loss, at),
        loss.detail,
        *map(_describe_dependents, loss.dependents),
    ]
    if loss.unknown:
        parts.append(f"not counted: {loss.unknown}")
    return ", ".join(filter(None, parts))


def summary(report: LossReport) -> str:
    """Summarize the report in one line."""
    if not report.losses:
        return "no data would be lost" if Method.NO_DATA in report.found_by else "nothing would be lost"
    lost, rejected = len(report.destroyed), len(report.rejected)
    text = f"{lost} of {len(report.losses)} would destroy data" if lost else "no data would be lost"
    return text + (f", {rejected} of them would make the downgrade fail" if rejected else "")


def report_notes(report: LossReport) -> Iterator[str]:
    """Yield how the losses were found, failures, and in what the report is incomplete."""
    if report.found_by:
        yield f"the downgrade {' and '.join(_METHODS[method] for method in report.found_by)}"
    for failure in report.failures:
        location = f" at {failure.location}" if failure.location else ""
        databases = "the live databases" if failure.method is Method.REHEARSAL else "scratch databases"
        yield f"{failure.database}: {failure.revision} fails on {databases}{location}: {failure.message}"
    for revision, reason in report.not_rehearsed.items():
        yield f"{revision} was not rehearsed: {reason}"
    yield from report.notes


def _number(count: Count | None) -> str:
    """Return a count as text, with `~` where it is estimated."""
    if count is None:
        return "an unknown number of"
    match count.precision:
        case Precision.ESTIMATED:
            return f"~{count.value:,}"
        case Precision.AT_LEAST:
            return f"{count.value:,} or more"
    return f"{count.value:,}"


def quantity(count: Count | None, noun: str) -> str:
    """Return a count with its noun."""
    return f"{_number(count)} {noun}{'' if count and count.exact and count.value == 1 else 's'}"


def _amounts(loss: Loss) -> Iterator[str]:
    rows = quantity(loss.rows, "row")
    match loss.effect, loss.kind:
        case Effect.DROPPED, "column" if loss.rows is not None and loss.non_null is not None:
            have = "has" if loss.non_null.value == 1 else "have"
            yield f"{_number(loss.non_null)} of {rows} {have} a value"
            if loss.distinct is not None and loss.non_null.value:
                yield f"{_number(loss.distinct)} distinct"
        case Effect.DROPPED, "enum value":
            yield f"{rows} {'holds' if loss.rows and loss.rows.value == 1 else 'hold'} it"
        case Effect.DROPPED, "table" | "materialized view":
            yield rows
        case Effect.DROPPED, "column" if loss.rows is not None:
            yield rows
        case Effect.DELETED, _:
            yield f"{rows} deleted"
        case Effect.UPDATED, _:
            yield f"{rows} changed"
        case Effect.NARROWED, _:
            of = ("" if loss.rows is None else " of") + f" {_number(loss.non_null)}" if loss.non_null else ""
            yield f"{_number(loss.rows)}{of} values altered"
        case Effect.REJECTED, _:
            yield f"{rows} rejected"
        case Effect.CHANGED, _:
            yield "changed"
        case _:
            yield "dropped"
    if loss.bytes is not None and loss.destroys_data:
        yield f"{'' if loss.bytes.exact else '~'}{format_bytes(loss.bytes.value)}"


def _last_written(loss: Loss, at: datetime) -> str:
    if loss.newest is None:
        return ""
    seconds = max(0, int((at - loss.newest).total_seconds()))
    for size, unit in _UNITS:
        if seconds >= size:
            return f"last written {quantity(Count(seconds // size), unit)} ago"
    return "last written just now"


def _describe_dependents(dependents: Dependents) -> str:
    if dependents.rows is None:
        return f"rows of {dependents.column} may be left without a matching row: {dependents.why}"
    rows = quantity(dependents.rows, "row")
    return f"{rows} of {dependents.column} would be left without a matching row"
