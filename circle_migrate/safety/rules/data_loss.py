"""What is lost: rows and values with what is dropped, emptied or deleted, and rules that held."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.sql_text import code, matcher, own_name, says
from circle_migrate.safety.live_database.record import Answer, ProbeKind, Size
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.evidence import Mode, estimate, format_size, is_empty
from circle_migrate.safety.rules.row_estimate import RowEstimate, estimate_rows
from circle_migrate.safety.rules.timeline import STORING, StatementContext, Timeline, describe_waits
from circle_migrate.safety.trace.record import Lock, Task

_DROPS_INDEX = matcher(r"\bDROP\s+INDEX\b(?!\s+CONCURRENTLY)")
_CASCADE = matcher(r"\bCASCADE\b")
_TYPES = frozenset({"enum", "domain", "composite type", "range type"})
_FOR_QUERIES = frozenset(
    {"table", "view", "materialized view", "function", "procedure", "column", "sequence"}
)
_PARTS_OF_OTHERS = frozenset({"constraint", "index", "trigger", "policy", "rule", "statistics"})


def check_data_loss(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about what a statement takes away."""
    if scene.statement.error is not None:
        return
    for change in scene.dropped:
        if change.key.kind in STORING:
            yield from _relation(story, scene, change)
        elif change.key.kind == "column":
            yield from _column(story, scene, change)
        elif change.key.kind == "sequence" or change.key.kind in _TYPES:
            yield from _definition(story, scene, change)
        elif change.key.kind == "index":
            yield from _index(story, scene, change)
    yield from _labels(story, scene)
    yield from _cascade_drops(story, scene)
    yield from _rows(story, scene)


def _relation(story: Timeline, scene: StatementContext, change: Change) -> Iterator[HazardFinding]:
    parents = (change.fields.get("partition_of", (None, None))[0] or "").split("\n")
    if any(ObjectKey("table", parent) in scene.gone for parent in parents):
        return
    hazard = "CM013" if change.key.kind == "table" else "CM014"
    relation = scene.live_relation(change.key)
    yield _lost(story, scene, hazard, change, relation, ProbeKind.ROWS)


def _column(story: Timeline, scene: StatementContext, change: Change) -> Iterator[HazardFinding]:
    owner = change.owner
    if owner is None or owner.kind not in STORING or owner in scene.gone or _says(change, "inherited"):
        return
    yield _lost(story, scene, "CM010", change, scene.live_relation(owner), ProbeKind.VALUES)


def _lost(
    story: Timeline,
    scene: StatementContext,
    hazard: str,
    change: Change,
    relation: str | None,
    ask: ProbeKind,
) -> HazardFinding:
    """A danger with values, a warning without; what nobody has counted is taken to hold some."""
    subject = change.key.identity
    answer = story.answer(scene, ask, subject)
    size = story.size(scene, relation)
    computed = _says(change, "generated")
    count = 0 if computed or (answer is None and is_empty(size)) else answer.count if answer else None
    empty = count == 0
    return story.finding(
        scene,
        "CM012" if empty else hazard,
        Severity.WARNING if empty else Severity.ERROR,
        subject,
        "its values can be computed again" if computed else _counted(story, ask, answer, count, size),
        relation=relation,
        confidence=Confidence.LIVE if count is not None and not computed and answer else None,
        lock=describe_waits(scene.statement.acquired),
    )


def _counted(
    story: Timeline, ask: ProbeKind, answer: Answer | None, count: int | None, size: Size | None
) -> str:
    if count is not None:
        more = "more than " if answer is not None and answer.more else ""
        return f"{more}{count} {ask}" if count else f"no {ask}"
    if answer is not None:
        return f"could not be asked: {answer.why}; taken to hold values"
    nobody = "nobody was asked in CI" if story.evidence.mode is Mode.CI else "not asked"
    return f"{nobody}, so that it is taken to hold values; the table is {format_size(size)}"


def _definition(story: Timeline, scene: StatementContext, change: Change) -> Iterator[HazardFinding]:
    """A sequence or a type; an owned sequence goes with its column.

    One that goes alone is used by no default any more: PostgreSQL would not have let it go.
    """
    owned_by = change.fields.get("owned_by", (None, None))[0]
    if owned_by and any(key.kind == "column" and key.identity == owned_by for key in scene.gone):
        return
    if (change.owner is not None and change.owner in scene.gone) or _is_back(story, scene, change.key):
        return
    of_use = change.key.kind == "sequence"
    yield story.finding(
        scene,
        "CM014",
        Severity.ERROR if of_use and not owned_by else Severity.WARNING,
        change.key.identity,
        "its position is lost, and nextval() of it fails"
        if of_use
        else f"no column is of this {change.key.kind} any more; statements that cast to it fail",
    )


def _is_back(story: Timeline, scene: StatementContext, key: ObjectKey) -> bool:
    """Whether something else has the name that it had before the plan."""
    origin = scene.origin(key)
    return origin is not None and origin in story.last.get(scene.statement.database, {})


def _labels(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    for change in scene.changes(Op.CHANGED, "enum"):
        old, new = (set((side or "").split("\n")) for side in change.fields.get("labels", ("", "")))
        if scene.existed(change.key) and len(new) < len(old):
            yield story.finding(
                scene,
                "CM014",
                Severity.ERROR,
                change.key.identity,
                f"the type has no value {', '.join(sorted(old - new))} any more",
            )


def _index(story: Timeline, scene: StatementContext, change: Change) -> Iterator[HazardFinding]:
    owner = change.owner
    if owner is None or owner in scene.gone or not _DROPS_INDEX.search(scene.statement.sql):
        return
    relation = scene.live_relation(owner)
    large = relation is not None and story.is_large(scene, relation)
    if _says(change, "inherited"):
        return
    yield story.finding(
        scene,
        "CM065",
        Severity.WARNING if large else Severity.NOTE,
        change.key.identity,
        "queries that use it become slow, and building it again takes as long as it took",
        relation=relation,
        lock=describe_waits(scene.statement.acquired),
    )


def _cascade_drops(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """What CASCADE takes along: neither named, nor part of something that is named or gone itself."""
    text = code(scene.statement.sql)
    if not _CASCADE.search(scene.statement.sql) or "TRUNCATE" in text.upper():
        return
    owned = {key.identity for key in scene.gone if key.kind == "column"}
    object_keys = [
        change.key
        for change in scene.dropped
        if not says(scene.statement.sql, own_name(change.key.identity))
        and not (change.owner is not None and change.owner in scene.gone)
        and change.fields.get("owned_by", (None, None))[0] not in owned
        and change.key.kind in _FOR_QUERIES | _PARTS_OF_OTHERS
    ]
    if not object_keys:
        return
    needed = [key for key in object_keys if key.kind in _FOR_QUERIES]
    yield story.finding(
        scene,
        "CM011",
        Severity.ERROR if needed else Severity.WARNING,
        str((needed or object_keys)[0]),
        f"it also drops {', '.join(map(str, object_keys))}",
        lock=describe_waits(scene.statement.acquired),
    )


def _rows(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    for work in scene.statement.work:
        if work.relation in scene.statement.created_relations:
            continue
        if work.task is Task.TRUNCATE:
            yield from _emptied(story, scene, work.relation)
        elif work.task is Task.DELETE:
            yield from _deleted(story, scene, work.relation)


def _emptied(story: Timeline, scene: StatementContext, relation: str) -> Iterator[HazardFinding]:
    answer = story.answer(scene, ProbeKind.ROWS, relation)
    size = story.size(scene, relation)
    count = answer.count if answer is not None else 0 if is_empty(size) else None
    yield story.finding(
        scene,
        "CM006",
        Severity.NOTE if count == 0 else Severity.ERROR,
        relation,
        _counted(story, ProbeKind.ROWS, answer, count, size),
        relation=relation,
        lock=describe_waits({relation: scene.statement.locks.get(relation, Lock.AccessExclusive)}),
        confidence=Confidence.LIVE if answer is not None and answer.count is not None else None,
    )


def _deleted(story: Timeline, scene: StatementContext, relation: str) -> Iterator[HazardFinding]:
    size = story.size(scene, relation)
    how = estimate_rows(story, scene, relation)
    if is_empty(size) or how is RowEstimate.FEW:
        return
    level = {RowEstimate.ALL: Severity.ERROR, RowEstimate.BATCH: Severity.NOTE}.get(how, Severity.WARNING)
    yield story.finding(
        scene,
        "CM015",
        level,
        relation,
        f"{how} of {relation}, which is {format_size(size)}",
        relation=relation,
        work=f"{Task.DELETE} of {relation}",
        estimate=estimate(Task.DELETE, size),
        confidence=Confidence.LIVE if scene.place in story.evidence.expected_rows else None,
    )


def _says(change: Change, name: str) -> bool:
    return any(side is not None for side in change.fields.get(name, ()))
