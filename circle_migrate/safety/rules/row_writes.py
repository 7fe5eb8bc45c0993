"""Check statements that write rows: how many, and which sessions wait for them."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.sql_text import (
    compile_pattern,
    mentions,
    own_name,
    without_comments_and_literals,
)
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import StatementContext
from circle_migrate.safety.rules.evidence import estimate, format_size
from circle_migrate.safety.rules.row_estimate import WRITING, RowEstimate, estimate_rows
from circle_migrate.safety.rules.table_work import under_locks
from circle_migrate.safety.trace.record import Lock, Task, Work

_FROM = compile_pattern(r"\b(?:FROM|JOIN|USING)\b.*")


def check_row_writes(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about statements that write an unknown or large number of rows."""
    for work in context.statement.work:
        if work.task not in WRITING:
            continue
        rows = estimate_rows(context, work.relation)
        batch_alone = rows is RowEstimate.BATCH and not context.statement.transactional
        if rows in (RowEstimate.FEW, RowEstimate.PART) or batch_alone:
            continue
        locks = context.blocking_locks(context.statement.locks)  # a DO block may take locks itself
        large = _large_relation(context, work)
        if locks and large is not None:
            yield under_locks(context, "CM064", large, [Work(work.task, large, work.description)], locks)
        elif (
            work.task is not Task.DELETE
            and context.is_large(work.relation)
            and (work.task is not Task.INSERT or large is not None)
        ):
            yield _without_locks(context, work, rows)


def _large_relation(context: StatementContext, work: Work) -> str | None:
    """Return the large table whose rows decide how long a write takes; None if no such table is large.

    For INSERT it is the table that is read; otherwise the written table, else one that a subquery reads.
    """
    if work.task is not Task.INSERT and context.is_large(work.relation):
        return work.relation
    sources = _FROM.search(without_comments_and_literals(context.statement.sql))
    if sources is None:
        return None
    relations = (name for name in context.statement.locks if mentions(sources[0], own_name(name)))
    return next(filter(context.is_large, relations), None)


def _without_locks(context: StatementContext, work: Work, rows: RowEstimate) -> HazardFinding:
    size = context.size(work.relation)
    return context.finding(
        "CM005",
        Severity.WARNING,
        work.relation,
        f"{work.task} of {rows} of {work.relation}, which is {format_size(size)}, in one transaction",
        relation=work.relation,
        lock=f"{Lock.RowExclusive.sql} on {work.relation}: writes of the same rows wait",
        work=f"{work.task} of {work.relation}",
        estimate=estimate(work.task, size),
    )
