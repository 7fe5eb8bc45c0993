"""Check work and row writes that take as long as a table is large and make other sessions wait."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.sql_text import (
    compile_pattern,
    mentions,
    own_name,
    without_comments_and_literals,
)
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import LONG_TASKS, StatementContext, describe_waits
from circle_migrate.safety.rules.evidence import format_size
from circle_migrate.safety.rules.lock import names_of
from circle_migrate.safety.rules.row_estimate import WRITING, RowEstimate, estimate_rows
from circle_migrate.safety.trace.record import Lock, Task, Work

_VALIDATES = compile_pattern(r"\bVALIDATE\s+CONSTRAINT\b")
_REINDEX = compile_pattern(r"\bREINDEX\b")
_REFRESH = compile_pattern(r"\bREFRESH\s+MATERIALIZED\b")
_CONCURRENTLY = compile_pattern(r"\bCONCURRENTLY\b")
_ATTACH = compile_pattern(r"\bATTACH\s+PARTITION\b")
_REWRITTEN_FIELDS = {"type", "collation", "generated"}
_FROM = compile_pattern(r"\b(?:FROM|JOIN|USING)\b.*")


def check_table_work(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for each hazard and table of a statement that reads or rewrites tables."""
    works_by_cause: dict[tuple[str | None, str], list[Work]] = {}
    for work in context.statement.work:
        if work.task in LONG_TASKS and work.relation not in context.statement.created_relations:
            hazard = _hazard(context, work) if _blocks_by_itself(context, work) else None
            works_by_cause.setdefault((hazard, context.root(work.relation)), []).append(work)
    for (hazard, root), works in works_by_cause.items():
        if hazard is None:
            locks = context.blocking_locks(context.statement.locks_before)
            size = context.total_size(works)
            if locks and context.plan.evidence.is_large(context.statement.database, root, size):
                yield _under_locks(context, "CM002", root, works, locks)
        elif hazard:
            yield _blocking(context, hazard, root, works)


def _blocking(context: StatementContext, hazard: str, root: str, works: Sequence[Work]) -> HazardFinding:
    size = context.total_size(works)
    statement = context.statement
    blocking = context.blocking_locks(statement.locks)
    read = (name for name, mode in statement.acquired.items() if mode is Lock.AccessShare)
    large_sources = sorted(filter(context.is_large, read)) if hazard == "CM066" else []
    large = context.plan.evidence.is_large(statement.database, root, size) and context.holds_rows(root)
    blocked = bool(blocking) and large
    locks = blocking or {name: mode for name, mode in statement.locks.items() if mode.blocks_writes}
    severity, reason = Severity.NOTE, f"{root} is {format_size(size)}: it takes a short time"
    if blocked:
        severity, reason = Severity.ERROR, f"{root} is {format_size(size)}: others wait until it is done"
    elif large_sources:
        severity, reason = Severity.WARNING, f"its query reads {', '.join(large_sources)}"
    return context.finding(hazard, severity, root, reason, relation=root, locks=locks, works=works)


def _under_locks(
    context: StatementContext, hazard: str, root: str, works: Sequence[Work], locks: dict[str, Lock]
) -> HazardFinding:
    """Return a finding about work under locks of earlier statements; if of other revisions only, of CM041."""
    rule = "CM041" if _from_other_revisions(context, locks) else hazard
    size, waits = format_size(context.total_size(works)), describe_waits(locks)
    reason = f"{root} is {size}, and the transaction already holds {waits}"
    return context.finding(rule, Severity.ERROR, root, reason, relation=root, locks=locks, works=works)


def _blocks_by_itself(context: StatementContext, work: Work) -> bool:
    """Return whether the statement would block others in a transaction of its own, too."""
    statement = context.statement
    if statement.acquired.get(work.relation, 0) >= Lock.Share:
        return True
    held = statement.locks_before.get(work.relation, 0) >= Lock.Share
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
    rewritten = {other.relation for other in context.statement.work if other.task is Task.REWRITE}
    if work.relation in rewritten:
        columns = (change for change in context.added if change.key.kind == "column")
        return "CM001" if any(context.existed(column.owner) for column in columns) else "CM069"
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
    constraints = {change.new("type") for change in context.added if change.key.kind == "constraint"}
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
    implicit = any(change.new(name) for name in ("default", "generated", "identity", "inherited"))
    return change.new("not_null") == "yes" and not implicit


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


def check_row_writes(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about statements that write an unknown or large number of rows."""
    for work in context.statement.work:
        if work.task not in WRITING:
            continue
        rows = estimate_rows(context, work)
        batch_alone = rows is RowEstimate.BATCH and not context.statement.transactional
        locks = context.blocking_locks(context.statement.locks)  # a DO block may take locks itself
        is_short = rows is RowEstimate.PART and not (locks and _is_scanned(context, work))
        if rows is RowEstimate.FEW or is_short or batch_alone:
            continue
        large = _large_relation(context, work)
        is_long = work.task is not Task.DELETE and (work.task is not Task.INSERT or large is not None)
        if locks and large is not None:
            yield _under_locks(context, "CM064", large, [Work(work.task, large)], locks)
        elif is_long and context.is_large(work.relation):
            yield _without_locks(context, work, rows)


def _is_scanned(context: StatementContext, work: Work) -> bool:
    """Return whether the planner reads the whole table to find the rows that are written."""
    key = context.statement.database, work.sql or context.statement.sql
    return own_name(work.relation) in context.plan.evidence.scanned.get(key, ())


def _large_relation(context: StatementContext, work: Work) -> str | None:
    """Return the large table that is written, for INSERT read, or read by a subquery; else None."""
    if work.task is not Task.INSERT and context.is_large(work.relation):
        return work.relation
    sources = _FROM.search(without_comments_and_literals(context.statement.sql))
    if sources is None:
        return None
    for name in filter(context.is_large, context.statement.locks):
        if any(mentions(sources[0], alias) for alias in names_of(context, name)):
            return name
    return None


def _without_locks(context: StatementContext, work: Work, rows: RowEstimate) -> HazardFinding:
    name = work.relation
    size = format_size(context.size(name))
    which = f"the rows of a query into {name}" if work.task is Task.INSERT else f"{rows} of {name}"
    reason = f"{work.task} of {which}, which is {size}, in one transaction"
    finding = context.finding("CM005", Severity.WARNING, name, reason, relation=name, works=[work])
    return replace(finding, lock=f"{Lock.RowExclusive.sql} on {name}: writes of the same rows wait")
