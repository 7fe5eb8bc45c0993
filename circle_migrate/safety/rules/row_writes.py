"""Statements that write rows: how many, and who waits for them."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.sql_text import code, matcher, own_name, says
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.evidence import estimate, format_size
from circle_migrate.safety.rules.row_estimate import WRITING, RowEstimate, estimate_rows
from circle_migrate.safety.rules.table_work import under_locks
from circle_migrate.safety.rules.timeline import StatementContext, Timeline
from circle_migrate.safety.trace.record import Lock, Task, Work

_FROM = matcher(r"\b(?:FROM|JOIN|USING)\b.*")


def check_row_writes(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about rows that a statement writes, however many there are."""
    if scene.statement.error is not None:
        return
    for work in scene.statement.work:
        if work.task not in WRITING:
            continue
        how = estimate_rows(story, scene, work.relation)
        if how in (RowEstimate.FEW, RowEstimate.PART) or (
            how is RowEstimate.BATCH and not scene.statement.transactional
        ):
            continue
        held = story.blocking_locks(scene, scene.statement.locks)  # a DO block may have taken some itself
        measured = _measured(story, scene, work)
        if held and measured is not None:
            at = Work(work.task, measured, work.description)
            yield under_locks(story, scene, "CM064", measured, [at], held)
        elif work.task is not Task.DELETE and _is_long(story, scene, work, measured):
            yield _unlocked(story, scene, work, how)


def _measured(story: Timeline, scene: StatementContext, work: Work) -> str | None:
    """The large table whose rows decide how long it takes; None where there is none.

    What is inserted is as much as is read; else the table itself counts, or what a subquery reads.
    """
    text = _FROM.search(code(scene.statement.sql))
    read = [
        name
        for name in (scene.statement.locks if text else ())
        if says(text[0] if text else "", own_name(name)) and story.is_large(scene, name)
    ]
    if work.task is not Task.INSERT and story.is_large(scene, work.relation):
        return work.relation
    return read[0] if read else None


def _is_long(story: Timeline, scene: StatementContext, work: Work, measured: str | None) -> bool:
    """Whether a large part of a large table is written, or into one from another."""
    target = story.is_large(scene, work.relation)
    return target and (work.task is not Task.INSERT or measured is not None)


def _unlocked(story: Timeline, scene: StatementContext, work: Work, how: RowEstimate) -> HazardFinding:
    size = story.size(scene, work.relation)
    return story.finding(
        scene,
        "CM005",
        Severity.WARNING,
        work.relation,
        f"{work.task} of {how} of {work.relation}, which is {format_size(size)}, in one transaction",
        relation=work.relation,
        lock=f"{Lock.RowExclusive.sql} on {work.relation}: who writes one of the same rows waits",
        work=f"{work.task} of {work.relation}",
        estimate=estimate(work.task, size),
    )
