"""Check the locks of statements: on unnamed tables, on several tables, without a timeout, held by others."""

from collections.abc import Iterator, Mapping

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.sql_text import compile_pattern, mentions, own_name
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.context import PlanContext, StatementContext, describe_waits
from circle_migrate.safety.trace.record import Lock

_DETACH = compile_pattern(r"\bDETACH\s+PARTITION\b(?!.*\b(?:CONCURRENTLY|FINALIZE)\b)")
_NO_TIMEOUT = compile_pattern(
    r"\bSET\s+(?:LOCAL\s+|SESSION\s+)?lock_timeout\s*(?:=|TO)\s*'?\s*0\s*(?:ms|s|min|h|d)?\s*'?\s*;?\s*$"
    r"|\bset_config\s*\(\s*'lock_timeout'\s*,\s*'\s*0\s*(?:ms|s|min|h|d)?\s*'"
)


def check_locks(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about the locks of a statement."""
    yield from _unnamed_relations(context)
    yield from _several_relations(context)
    yield from _detached_partition(context)
    yield from _no_timeout(context)


def _unnamed_relations(context: StatementContext) -> Iterator[HazardFinding]:
    statement = context.statement
    for relation, mode in statement.acquired.items():
        named = any(mentions(statement.sql, name) for name in names_of(context, relation))
        if mode < Lock.ShareRowExclusive or named or not context.holds_rows(relation):
            continue
        large = context.is_large(relation) and mode.blocks_reads
        severity = Severity.WARNING if large else Severity.NOTE
        reason = f"the statement locks {relation} without naming it"
        yield context.finding("CM003", severity, relation, reason, relation=relation, locks={relation: mode})


def names_of(context: StatementContext, relation: str) -> Iterator[str]:
    """Yield the names by which a statement can name a relation from before the plan, or a part of it."""
    yield from map(own_name, (relation, context.root(relation)))
    for key, origin in context.origins.items():
        if origin is not None and origin.identity == relation:
            yield own_name(key.identity)
    for change in context.statement.changes:
        if context.live_relation(change.owner) == relation:
            yield own_name(change.key.identity)


def _several_relations(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for ACCESS EXCLUSIVE on two large tables; a partition counts as its parent."""
    statement = context.statement
    names = sorted(_exclusive(context, statement.locks))
    new = _exclusive(context, statement.acquired) - _exclusive(context, statement.locks_before)
    if new and len(names) > 1:
        subject = max(new)
        reason = f"the transaction holds ACCESS EXCLUSIVE on {' and '.join(names)} together"
        locks = dict.fromkeys(names, Lock.AccessExclusive)
        yield context.finding("CM004", Severity.WARNING, subject, reason, relation=subject, locks=locks)


def _exclusive(context: StatementContext, locks: Mapping[str, Lock]) -> set[str]:
    return {
        context.root(name) for name, mode in locks.items() if mode.blocks_reads and context.is_large(name)
    }


def _detached_partition(context: StatementContext) -> Iterator[HazardFinding]:
    acquired = context.statement.acquired
    if not _DETACH.search(context.statement.sql) or context.statement.error is not None or not context.before:
        return
    relation = next((name for name in sorted(acquired) if context.root(name) == name), None)
    if relation is not None:
        severity = Severity.ERROR if context.blocking_locks(acquired) else Severity.NOTE
        reason = "queries wait for it and it for them; then the table lacks these rows and refuses new ones"
        yield context.finding("CM059", severity, relation, reason, relation=relation, locks=acquired)


def _no_timeout(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for lock_timeout = 0, with the first later locks that block others."""
    if not _NO_TIMEOUT.search(context.statement.sql):
        return
    later = (
        statement.blocking_locks(statement.statement.acquired)
        for statement in context.plan.statements[context.index + 1 :]
        if statement.transaction == context.transaction
    )
    locks: Mapping[str, Lock] = next(filter(None, later), {})
    waits = f": {describe_waits(locks)}" if locks else ""
    severity = Severity.WARNING if locks else Severity.NOTE
    reason = f"later statements wait for locks without a timeout{waits}"
    yield context.finding("CM051", severity, "lock_timeout", reason, locks=locks)


def check_blockers(plan: PlanContext) -> Iterator[HazardFinding]:
    """Yield a finding for each session that holds a lock which a statement will wait for."""
    for context in plan.statements:
        acquired, live = context.statement.acquired, Confidence.LIVE
        for blocker in plan.evidence.blockers.get(context.statement.database, ()):
            who, name = blocker.who, blocker.relation
            held = "a snapshot" if blocker.held is None else blocker.held.sql
            reason = f"{who} has held {held} on {name} for {blocker.since_seconds:.0f} s"
            if acquired.get(name, 0) >= Lock.ShareUpdateExclusive:
                locks = {name: acquired[name]}
                yield context.finding(
                    "CM050", Severity.WARNING, who, reason, relation=name, locks=locks, confidence=live
                )
