"""Losses in the words of people who have to decide about them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from circle_migrate.core.byte_size import format_bytes
from circle_migrate.safety.losses.report import Count, Dependents, Effect, Loss, LossReport, Method, Precision

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_METHODS = {
    Method.SCRATCH: "ran on scratch databases",
    Method.REHEARSAL: "ran on the live databases and was rolled back",
    Method.SNAPSHOTS: "was derived from the snapshots of its revisions",
}


def how_much(loss: Loss, at: datetime) -> str:
    """What goes with an object, in one line."""
    parts = [*_figures(loss), _written(loss, at), loss.detail, *map(_alone, loss.dependents)]
    if loss.unknown:
        parts.append(f"not known: {loss.unknown}")
    return ", ".join(filter(None, parts))


def summary(report: LossReport) -> str:
    """What the report comes to."""
    if not report.losses:
        return "nothing would be lost"
    lost, blocking = len(report.destroyed), len(report.rejected)
    parts = [f"{lost} of {len(report.losses)} would destroy data" if lost else "no data would be lost"]
    if blocking:
        parts.append(f"{blocking} of them would keep the downgrade from succeeding")
    return ", ".join(parts)


def remarks(report: LossReport) -> Iterator[str]:
    """How it was found, and in what that is not everything."""
    if report.found_by:
        yield f"the downgrade {' and '.join(_METHODS[method] for method in report.found_by)}"
    for failure in report.failures:
        place = f" at {failure.location}" if failure.location else ""
        where = "the live databases" if failure.method is Method.REHEARSAL else "scratch databases"
        yield f"{failure.database}: {failure.revision} fails on {where}{place}: {failure.message}"
    for revision, why in report.not_rehearsed.items():
        yield f"{revision} was not rehearsed: {why}"
    yield from report.notes


def number(count: Count | None) -> str:
    """A count, with `~` where it is estimated."""
    if count is None:
        return "an unknown number of"
    match count.precision:
        case Precision.ESTIMATED:
            return f"~{count.value:,}"
        case Precision.AT_LEAST:
            return f"{count.value:,} or more"
    return f"{count.value:,}"


def _figures(loss: Loss) -> Iterator[str]:
    match loss.effect, loss.kind:
        case Effect.DROPPED, "column" if loss.rows is not None and loss.non_null is not None:
            have = "has" if loss.non_null.value == 1 else "have"
            yield f"{number(loss.non_null)} of {_rows(loss.rows)} {have} a value"
            if loss.distinct is not None and loss.non_null.value:
                yield f"{number(loss.distinct)} distinct"
        case Effect.DROPPED, "column" if loss.rows is not None:
            yield _rows(loss.rows)
        case Effect.DROPPED, "enum value":
            yield f"{_rows(loss.rows)} {'holds' if loss.rows and loss.rows.value == 1 else 'hold'} it"
        case Effect.DROPPED, "table" | "materialized view":
            yield _rows(loss.rows)
        case Effect.DELETED, _:
            yield f"{_rows(loss.rows)} deleted"
        case Effect.UPDATED, _:
            yield f"{_rows(loss.rows)} changed"
        case Effect.NARROWED, _:
            of = ("" if loss.rows is None else " of") + f" {number(loss.non_null)}" if loss.non_null else ""
            yield f"{number(loss.rows)}{of} values altered"
        case Effect.REJECTED, _:
            yield f"{_rows(loss.rows)} in the way"
        case Effect.CHANGED, _:
            yield "changes"
        case _:
            yield "goes"
    if loss.bytes is not None and loss.destroys_data:
        yield f"{'' if loss.bytes.exact else '~'}{format_bytes(loss.bytes.value)}"


def _rows(count: Count | None) -> str:
    return f"{number(count)} {'row' if count and count.value == 1 and count.exact else 'rows'}"


def _written(loss: Loss, at: datetime) -> str:
    if loss.newest is None:
        return ""
    seconds = max(0, int((at - loss.newest).total_seconds()))
    for size, unit in _UNITS:
        if seconds >= size:
            count = seconds // size
            return f"last written {count} {unit}{'s' * (count > 1)} ago"
    return "last written just now"


def _alone(partners: Dependents) -> str:
    if partners.rows is None:
        return f"rows of {partners.column} may lose their partner: {partners.why}"
    return f"{_rows(partners.rows)} of {partners.column} lose their partner"
