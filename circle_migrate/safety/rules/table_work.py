"""Check work that takes as long as a table is large and makes other sessions wait.

The trace shows the work and the locks; the changes of the catalog tell which hazard it is. Work that lets
others pass is a hazard only under locks that its transaction already holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.sql_text import compile_pattern
from circle_migrate.safety.live_database.record import Size
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import StatementContext, describe_waits, new_value
from circle_migrate.safety.rules.evidence import estimate, format_size
from circle_migrate.safety.trace.record import Lock, Task, Work

_VALIDATES = compile_pattern(r"\bVALIDATE\s+CONSTRAINT\b")
_REINDEX = compile_pattern(r"\bREINDEX\b")
_REFRESH = compile_pattern(r"\bREFRESH\s+MATERIALIZED\b")
_CONCURRENTLY = compile_pattern(r"\bCONCURRENTLY\b")
_ATTACH = compile_pattern(r"\bATTACH\s+PARTITION\b")
_REWRITTEN_FIELDS = {"type", "collation", "generated"}
_LONG_TASKS = (Task.REWRITE, Task.INDEX_BUILD, Task.FK_VALIDATION, Task.SCAN)
_LONGEST_FIRST = (*_LONG_TASKS, Task.UPDATE, Task.INSERT, Task.DELETE, Task.TRUNCATE)


def check_table_work(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for each hazard and table of a statement that reads or rewrites tables."""
    works_by_cause: dict[tuple[str | None, str], list[Work]] = {}
    for work in context.statement.work:
        if work.task in _LONG_TASKS and work.relation not in context.statement.created_relations:
            hazard = _hazard(context, work) if _blocks_by_itself(context, work) else None
            works_by_cause.setdefault((hazard, context.root(work.relation)), []).append(work)
    for (hazard, root), works in works_by_cause.items():
        if hazard is None:
            locks = context.blocking_locks(context.statement.before)
            size = _total_size(context, works)
            if locks and context.plan.sizes.is_large(context.statement.database, root, size):
                yield under_locks(context, "CM002", root, works, locks)
        elif hazard:
            yield _blocking(context, hazard, root, works)


def _blocking(context: StatementContext, hazard: str, root: str, works: Sequence[Work]) -> HazardFinding:
    size = _total_size(context, works)
    statement = context.statement
    blocking = context.blocking_locks(statement.locks)
    large_sources = sorted(
        name
        for name, mode in statement.acquired.items()
        if hazard == "CM066" and mode is Lock.AccessShare and context.is_large(name)
    )
    large = context.plan.sizes.is_large(statement.database, root, size) and context.holds_rows(root)
    blocked = bool(blocking) and large
    locks = blocking or {name: mode for name, mode in statement.locks.items() if mode.blocks_writes}
    duration = "others wait until it is done" if blocked else "it takes a short time"
    return context.finding(
        hazard,
        Severity.ERROR if blocked else Severity.WARNING if large_sources else Severity.NOTE,
        root,
        f"its query reads {', '.join(large_sources)}"
        if large_sources and not blocked
        else f"{root} is {format_size(size)}: {duration}",
        relation=root,
        lock=describe_waits(locks),
        work=_describe_works(works),
        size=size,
        estimate=estimate(_longest(works), size),
    )


def under_locks(
    context: StatementContext, hazard: str, root: str, works: Sequence[Work], locks: dict[str, Lock]
) -> HazardFinding:
    """Return a finding about work that blocks others only through locks that its transaction holds already.

    If only earlier revisions took these locks, the hazard is that the revisions share a transaction.
    """
    size = _total_size(context, works)
    return context.finding(
        "CM041" if _from_other_revisions(context, locks) else hazard,
        Severity.ERROR,
        root,
        f"{root} is {format_size(size)}, and the transaction already holds {describe_waits(locks)}",
        relation=root,
        lock=describe_waits(locks),
        work=_describe_works(works),
        size=size,
        estimate=estimate(_longest(works), size),
    )


def _blocks_by_itself(context: StatementContext, work: Work) -> bool:
    """Return whether the statement would block others in a transaction of its own, too.

    A lock that the transaction holds is not taken again; a change of the catalog shows that it is needed.
    """
    statement = context.statement
    if statement.acquired.get(work.relation, 0) >= Lock.Share:
        return True
    held = statement.before.get(work.relation, 0) >= Lock.Share
    return held and bool(statement.changes) and not _VALIDATES.search(statement.sql)


def _hazard(context: StatementContext, work: Work) -> str:
    """Return the hazard of work under the statement's own lock; empty if another rule finds it."""
    sql = context.statement.sql
    if _REFRESH.search(sql):
        return "" if _CONCURRENTLY.search(sql) else "CM066"
    if _ATTACH.search(sql):
        return "CM067"
    if any(_REWRITTEN_FIELDS & change.fields.keys() for change in context.changes(Op.CHANGED, "column")):
        return "CM061"
    if any(
        other.task is Task.REWRITE and other.relation == work.relation for other in context.statement.work
    ):
        new_column = any(
            change.key.kind == "column" and context.existed(change.owner) for change in context.added
        )
        return "CM001" if new_column else "CM069"
    return _scan_hazard(context, work.task)


def _scan_hazard(context: StatementContext, task: Task) -> str:
    """Return the hazard of reading rows for a new constraint or index."""
    if task is Task.FK_VALIDATION:
        return "CM009"
    if task is Task.SCAN:
        return "" if any(map(is_required, context.added)) else "CM007"
    if _REINDEX.search(context.statement.sql):
        return "CM058"
    return _index_hazard(context)


def _index_hazard(context: StatementContext) -> str:
    constraints = {new_value(change, "type") for change in context.added if change.key.kind == "constraint"}
    if "exclusion" in constraints:
        return "CM063"
    if constraints & {"unique", "primary key"}:
        return "CM062"
    partitioned = any(
        context.before.get(change.owner, {}).get("partition_key")
        for change in context.added
        if change.key.kind == "index" and change.owner is not None
    )
    return "CM068" if partitioned else "CM008"


def is_required(change: Change) -> bool:
    """Return whether a change adds a NOT NULL column without a default."""
    if change.key.kind != "column" or change.op is not Op.ADDED:
        return False
    implicit = any(new_value(change, name) for name in ("default", "generated", "identity", "inherited"))
    return new_value(change, "not_null") == "yes" and not implicit


def _from_other_revisions(context: StatementContext, relations: Iterable[str]) -> bool:
    """Return whether only revisions before the statement's own took the locks on these relations."""
    holders = {
        name: earlier.statement.revision
        for earlier in context.plan.statements[: context.index]
        if earlier.transaction == context.transaction
        for name, mode in earlier.statement.acquired.items()
        if mode.blocks_writes and name in relations
    }
    return bool(holders) and context.statement.revision not in holders.values()


def _total_size(context: StatementContext, works: Iterable[Work]) -> Size | None:
    relations = dict.fromkeys(work.relation for work in works)
    return context.plan.sizes.together(context.statement.database, relations)


def _longest(works: Iterable[Work]) -> Task:
    return min((work.task for work in works), key=_LONGEST_FIRST.index)


def _describe_works(works: Iterable[Work]) -> str:
    return "; ".join(dict.fromkeys(f"{work.task} of {work.relation}" for work in works))
