"""Check what a statement drops, empties or deletes: rows, values, types, indexes."""

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres import sql_text
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.identifier import IDENTIFIER
from circle_migrate.safety.live_database.record import STORING, TYPES, Answer, ProbeKind, Size
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.context import StatementContext
from circle_migrate.safety.rules.evidence import Mode, format_size, is_empty
from circle_migrate.safety.rules.row_estimate import RowEstimate, estimate_rows
from circle_migrate.safety.trace.record import Lock, Task, Work

_DROPS_INDEX = sql_text.compile_pattern(r"\bDROP\s+INDEX\b(?!\s+CONCURRENTLY)")
_CASCADE = sql_text.compile_pattern(r"\bCASCADE\b")
# As foreign keys with SET NULL and SET DEFAULT do it, and triggers for a value of their row.
_LOST_REFERENCE = sql_text.compile_pattern(
    rf"UPDATE\b.*\bSET\s+(?P<column>{IDENTIFIER})\s*=\s*(?P<value>NULL|DEFAULT)\s+WHERE\b.*=\s*\$1\s*$"
)
_USED_BY_QUERIES = {"table", "view", "materialized view", "function", "procedure", "column", "sequence"}
_MANY = frozenset({RowEstimate.ALL, RowEstimate.MANY, RowEstimate.UNKNOWN})
_DEPENDENT_PARTS = {"constraint", "index", "trigger", "policy", "rule", "statistics"}


def check_data_loss(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about objects and rows that a statement removes."""
    for change in context.dropped:
        if change.key.kind in STORING:
            yield from _relation(context, change)
        elif change.key.kind == "column":
            yield from _column(context, change)
        elif change.key.kind == "sequence" or change.key.kind in TYPES:
            yield from _sequence_or_type(context, change)
        elif change.key.kind == "index":
            yield from _index(context, change)
    yield from _enum_values(context)
    yield from _cascade_drops(context)
    yield from _rows(context)


def _relation(context: StatementContext, change: Change) -> Iterator[HazardFinding]:
    parents = change.old("partition_of").split("\n")
    if not any(ObjectKey("table", parent) in context.removed for parent in parents):
        hazard = "CM013" if change.key.kind == "table" else "CM014"
        yield _lost_rows(context, hazard, change, context.live_relation(change.key), ProbeKind.ROWS)


def _column(context: StatementContext, change: Change) -> Iterator[HazardFinding]:
    owner = change.owner
    inherited = change.has("inherited")
    if owner is not None and owner.kind in STORING and owner not in context.removed and not inherited:
        yield _lost_rows(context, "CM010", change, context.live_relation(owner), ProbeKind.VALUES)


def _lost_rows(
    context: StatementContext, hazard: str, change: Change, relation: str | None, probe: ProbeKind
) -> HazardFinding:
    """Return a finding for a dropped relation or column: its values are lost, and its name."""
    subject = change.key.identity
    answer = context.answer(probe, subject)
    size = context.size(relation)
    generated = change.has("generated")
    count = 0 if generated or (answer is None and is_empty(size)) else answer.count if answer else None
    rule = "CM012" if count == 0 else hazard
    severity = Severity.WARNING if count == 0 and change.key in context.last else Severity.ERROR
    reason = "its values are generated from other columns"
    if not generated:
        reason = _describe_count(context, probe, answer, count, size)
    confidence = Confidence.LIVE if count is not None and not generated and answer else None
    locks = context.statement.acquired
    return context.finding(
        rule, severity, subject, reason, relation=relation, confidence=confidence, locks=locks
    )


def _describe_count(
    context: StatementContext, probe: ProbeKind, answer: Answer | None, count: int | None, size: Size | None
) -> str:
    if count == 0:
        return f"no {probe}; statements that name it fail"
    if answer is not None and count is not None:
        return answer.text
    if answer is not None:
        return f"its rows could not be counted ({answer.why}), so it is assumed to hold values"
    reason = "CI mode queries no database" if context.plan.evidence.mode is Mode.CI else "not counted"
    return f"{reason}, so it is assumed to hold values; the table is {format_size(size)}"


def _sequence_or_type(context: StatementContext, change: Change) -> Iterator[HazardFinding]:
    """Yield a finding for a dropped sequence or type, but not for a sequence dropped with its column."""
    owned_by = change.old("owned_by")
    if owned_by and any(key.kind == "column" and key.identity == owned_by for key in context.removed):
        return
    new = context.last.get(context.origin(change.key) or change.key)
    labels = set(change.old("labels").split("\n"))
    replaced = new is not None and labels <= set((new.get("labels") or "").split("\n"))
    if change.owner in context.removed or (replaced and change.key.kind != "sequence"):
        return
    severity = Severity.WARNING if owned_by else Severity.ERROR
    reason = f"no column uses this {change.key.kind} any more; statements that cast to it fail"
    if change.key.kind == "sequence":
        reason = "its position is lost, and nextval() of it fails"
    yield context.finding("CM014", severity, change.key.identity, reason)


def _enum_values(context: StatementContext) -> Iterator[HazardFinding]:
    for change in context.changes(Op.CHANGED, "enum"):
        old, new = (set(labels.split("\n")) for labels in (change.old("labels"), change.new("labels")))
        if context.existed(change.key) and len(new) < len(old):
            reason = f"the type loses the value {', '.join(sorted(old - new))}"
            yield context.finding("CM014", Severity.ERROR, change.key.identity, reason)


def _index(context: StatementContext, change: Change) -> Iterator[HazardFinding]:
    owner = change.owner
    if owner is None or owner in context.removed or not _DROPS_INDEX.search(context.statement.sql):
        return
    if change.has("inherited"):
        return
    relation, locks = context.live_relation(owner), context.statement.acquired
    severity = Severity.WARNING if relation and context.is_large(relation) else Severity.NOTE
    reason = "queries that use the index become slow, and building it again takes as long as the first time"
    yield context.finding("CM065", severity, change.key.identity, reason, relation=relation, locks=locks)


def _cascade_drops(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for objects that CASCADE drops: not named, nor part of a dropped object."""
    sql = context.statement.sql
    if not _CASCADE.search(sql) or "TRUNCATE" in sql_text.without_comments_and_literals(sql).upper():
        return
    columns = {key.identity for key in context.removed if key.kind == "column"}
    keys = [
        change.key
        for change in context.dropped
        if not sql_text.mentions(sql, sql_text.own_name(change.key.identity))
        and change.owner not in context.removed
        and change.old("owned_by") not in columns
        and change.key.kind in _USED_BY_QUERIES | _DEPENDENT_PARTS
    ]
    if not keys:
        return
    used = [key for key in keys if key.kind in _USED_BY_QUERIES]
    subject, severity = str((used or keys)[0]), Severity.ERROR if used else Severity.WARNING
    reason = f"it also drops {', '.join(map(str, keys))}"
    yield context.finding("CM011", severity, subject, reason, locks=context.statement.acquired)


def _rows(context: StatementContext) -> Iterator[HazardFinding]:
    for work in context.statement.work:
        if work.relation in context.statement.created_relations:
            continue
        if work.task is Task.TRUNCATE:
            yield _truncated(context, work.relation)
        elif work.task is Task.DELETE:
            yield from _deleted(context, work, "deletes")
        elif lost := _LOST_REFERENCE.match(work.sql):
            yield from _deleted(context, work, f"sets {lost['column']} to {lost['value']} in")


def _truncated(context: StatementContext, relation: str) -> HazardFinding:
    answer = context.answer(ProbeKind.ROWS, relation)
    size = context.size(relation)
    count = answer.count if answer is not None else 0 if is_empty(size) else None
    severity = Severity.NOTE if count == 0 else Severity.ERROR
    reason = _describe_count(context, ProbeKind.ROWS, answer, count, size)
    locks = {relation: context.statement.locks.get(relation, Lock.AccessExclusive)}
    confidence = Confidence.LIVE if answer is not None and count is not None else None
    return context.finding(
        "CM006", severity, relation, reason, relation=relation, locks=locks, confidence=confidence
    )


def _deleted(context: StatementContext, work: Work, verb: str) -> Iterator[HazardFinding]:
    relation, evidence = work.relation, context.plan.evidence
    size, answer = context.size(relation), context.answer(ProbeKind.ROWS, relation)
    rows = estimate_rows(context, work)
    if is_empty(size) or rows is RowEstimate.FEW or (answer is not None and answer.count == 0):
        return
    severity = Severity.ERROR if rows in _MANY else Severity.WARNING
    reason = f"it {verb} {rows} of {relation}, which is {format_size(size)}"
    planned = (context.statement.database, work.sql or context.statement.sql) in evidence.expected_rows
    confidence = Confidence.LIVE if planned else None
    yield context.finding(
        "CM015", severity, relation, reason, relation=relation, works=[work], confidence=confidence
    )
