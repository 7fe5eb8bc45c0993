"""Steps that fail: those that failed on a scratch database, and those that live rows stand against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey
from circle_migrate.postgres.sql_text import code, matcher
from circle_migrate.safety.hazards.loader import SQLSTATES
from circle_migrate.safety.live_database.record import Answer, ProbeKind
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.evidence import format_size, is_empty
from circle_migrate.safety.rules.table_work import is_required
from circle_migrate.safety.rules.timeline import STORING, StatementContext, Timeline
from circle_migrate.safety.trace.record import ServerError, Task

_HAZARDS: Mapping[ProbeKind, str] = {
    ProbeKind.NULLS: "CM020",
    ProbeKind.DUPLICATES: "CM023",
    ProbeKind.ORPHANS: "CM024",
    ProbeKind.VIOLATIONS: "CM025",
    ProbeKind.UNCASTABLE: "CM026",
    ProbeKind.TOO_LONG: "CM027",
    ProbeKind.CUT: "CM016",
    ProbeKind.BEHIND: "CM032",
}
"""What each answer other than none means; what would be lost is judged elsewhere."""

_RESTART = matcher(
    r"\bALTER\s+(?:SEQUENCE|TABLE)\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?P<name>\S+)\s.*\bRESTART\b"
)
_PROVED = frozenset({ProbeKind.NULLS, ProbeKind.VIOLATIONS})
_SEVERAL = "multiple commands"
_PARAMETER = "bind parameter"
_NOT_INSTALLED = "is not available"
_LOCAL_TIME, _POINT_IN_TIME = "timestamp without time zone", "timestamp with time zone"


def check_failures(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about whether a statement ends well."""
    said = scene.statement
    if said.error is not None:
        yield _error(story, scene, said.error)
        return
    for change in scene.added:
        if is_required(change) and scene.existed(change.owner) and _is_stored(change):
            yield _required(story, scene, change)
    yield from _shifted(story, scene)
    yield from _restarted(story, scene)


def check_probe_answers(story: Timeline) -> Iterator[HazardFinding]:
    """Yield findings that follow from answers of the live databases."""
    required = {
        (scene.place, change.key.identity)
        for scene in story.scenes
        for change in scene.added
        if is_required(change)
    }
    for answer in story.evidence.answers:
        probe = answer.probe
        if probe.kind in _HAZARDS and (probe.statement, probe.subject) not in required:
            yield from _of_answer(story, story.scenes[probe.statement], answer)


def _of_answer(story: Timeline, scene: StatementContext, answer: Answer) -> Iterator[HazardFinding]:
    probe = answer.probe
    proved = bool(scene.statement.validated_constraints) and probe.kind in _PROVED
    if answer.count == 0 or (answer.count is None and proved):
        return
    mended = answer.count is None and bool(probe.fixed_by) and bool(probe.query)
    unknown = Severity.NOTE if mended else Severity.WARNING
    yield story.finding(
        scene,
        "CM025" if _is_exclusion(scene, probe.subject) else _HAZARDS[probe.kind],
        Severity.ERROR if answer.count else unknown,
        probe.subject,
        _counted(answer),
        relation=probe.relation,
        confidence=Confidence.LIVE if answer.count else None,
    )


def _is_exclusion(scene: StatementContext, subject: str) -> bool:
    """Whether what may not be there twice is told by an EXCLUDE constraint, which compares otherwise."""
    return scene.after.get(ObjectKey("constraint", subject), {}).get("type") == "exclusion"


def _counted(answer: Answer) -> str:
    if answer.count is None:
        return f"whether there are {answer.probe.kind} could not be asked: {answer.why}"
    return f"{'more than ' if answer.more else ''}{answer.count} {answer.probe.kind}"


def _required(story: Timeline, scene: StatementContext, change: Change) -> HazardFinding:
    """Rows that are there have no value for it; without any, rows of the running release have none."""
    relation = scene.live_relation(change.owner)
    answer = story.answer(scene, ProbeKind.NULLS, change.key.identity)
    size = story.size(scene, relation)
    fails, why = Severity.ERROR, f"every row would need a value; the table is {format_size(size)}"
    if answer is not None and answer.count is None:
        fails, why = Severity.WARNING, f"whether there are rows could not be asked: {answer.why}"
    elif answer.count == 0 if answer is not None else is_empty(size):
        fails, why = (
            Severity.WARNING,
            "the table is empty; inserts that leave the column out fail from now on",
        )
    live = answer is not None and bool(answer.count)
    return story.finding(
        scene,
        "CM028",
        fails,
        change.key.identity,
        why,
        relation=relation,
        confidence=Confidence.LIVE if live else None,
    )


def _is_stored(change: Change) -> bool:
    return change.owner is not None and change.owner.kind in STORING


def _shifted(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Times of day that become points in time, rewritten as TimeZone is not UTC."""
    if not any(work.task is Task.REWRITE for work in scene.statement.work):
        return
    for change in scene.statement.changes:
        types = {str(side).partition("(")[0] for side in change.fields.get("type", ())}
        if (
            change.key.kind == "column"
            and types == {_LOCAL_TIME, _POINT_IN_TIME}
            and scene.existed(change.key)
        ):
            yield story.finding(
                scene,
                "CM016",
                Severity.WARNING,
                change.key.identity,
                "values are taken for times of the session's TimeZone, which is not UTC",
                relation=scene.live_relation(change.owner),
            )


def _restarted(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for a restarted sequence whose column no live database was asked about.

    The catalogue does not show a restart: the last value is a row of the sequence.
    """
    restart = _RESTART.search(code(scene.statement.sql))
    asked = any(
        answer.probe.kind is ProbeKind.BEHIND and answer.probe.statement == scene.place
        for answer in story.evidence.answers
    )
    if restart is not None and not asked:
        yield story.finding(
            scene,
            "CM032",
            Severity.WARNING,
            restart["name"],
            "the sequence is restarted; whether a column has values ahead of it was not checked",
            confidence=Confidence.STATIC,
        )


def lacks_extension(error: ServerError) -> bool:
    """Whether it failed for want of something that the live server may have."""
    return _NOT_INSTALLED in error.message and error.sqlstate in ("0A000", "58P01")


def _error(story: Timeline, scene: StatementContext, error: ServerError) -> HazardFinding:
    hazard, level = "CM021", Severity.ERROR
    if _SEVERAL in error.message:
        hazard = "CM042"
    elif not error.sqlstate and _PARAMETER in error.message:
        hazard = "CM043"
    elif lacks_extension(error):
        level = Severity.WARNING
    # Servers say so with either of two states; the other one stands for much else.
    known = SQLSTATES.get("58P01" if level is Severity.WARNING else error.sqlstate)
    state = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
    remedy = f". {known.remedy}" if known is not None and hazard == "CM021" else ""
    where = "on a scratch database"
    return story.finding(
        scene,
        hazard,
        level,
        error.sqlstate or "statement",
        f"failed {where}: {error.message}{state}{remedy}",
    )
