"""The core rule: work as long as a table is large, done while others wait for a large table.

PostgreSQL says what is done and what is locked; which hazard that is, and so its remedy, is told by what
became of the catalogue. Work that would let others pass by itself is a hazard of the locks it finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.sql_text import matcher
from circle_migrate.safety.live_database.record import Size
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.evidence import estimate, format_size
from circle_migrate.safety.rules.timeline import StatementContext, Timeline, describe_waits
from circle_migrate.safety.trace.record import Lock, Task, Work

_VALIDATES = matcher(r"\bVALIDATE\s+CONSTRAINT\b")
_REINDEX = matcher(r"\bREINDEX\b")
_REFRESH = matcher(r"\bREFRESH\s+MATERIALIZED\b")
_CONCURRENTLY = matcher(r"\bCONCURRENTLY\b")
_ATTACH = matcher(r"\bATTACH\s+PARTITION\b")
_RETYPED = ("type", "collation", "generated")
_LONGEST = (Task.REWRITE, Task.INDEX_BUILD, Task.FK_VALIDATION, Task.SCAN)
_ORDER = (*_LONGEST, Task.UPDATE, Task.INSERT, Task.DELETE, Task.TRUNCATE)


def check_table_work(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about a statement that reads or copies tables: one for each hazard and table."""
    if scene.statement.error is not None:
        return
    found: dict[tuple[str | None, str], list[Work]] = {}
    for work in scene.statement.work:
        if work.task in _LONGEST and work.relation not in scene.statement.created_relations:
            hazard = _cause(scene, work) if _blocks_by_itself(scene, work) else None
            found.setdefault((hazard, story.root(scene.statement.database, work.relation)), []).append(work)
    for (hazard, root), works in found.items():
        if hazard is None:
            yield from _carried(story, scene, root, works)
        elif hazard:
            yield from _blocking(story, scene, hazard, root, works)


def _blocking(
    story: Timeline, scene: StatementContext, hazard: str, root: str, works: Sequence[Work]
) -> Iterator[HazardFinding]:
    size = _size(story, scene, works)
    held = story.blocking_locks(scene, scene.statement.locks)
    long = sorted(source for source in _sources(scene, hazard) if story.is_large(scene, source))
    database = scene.statement.database
    large = story.sizes.is_large(database, root, size) and story.holds_rows(database, root)
    blocked = bool(held) and large
    locks = held or {name: mode for name, mode in scene.statement.locks.items() if mode.blocks_writes}
    task = _main(works)
    why = (
        f"{root} is {format_size(size)}: {'others wait for as long as it takes' if blocked else 'soon done'}"
    )
    yield story.finding(
        scene,
        hazard,
        Severity.ERROR if blocked else Severity.WARNING if long else Severity.NOTE,
        root,
        f"its query reads {', '.join(long)}" if long and not blocked else why,
        relation=root,
        lock=describe_waits(locks),
        work=_in_words(works),
        size=size,
        estimate=estimate(task, size),
    )


def _sources(scene: StatementContext, hazard: str) -> Iterator[str]:
    """What the query of a materialized view reads, which says how long it takes."""
    if hazard == "CM066":
        yield from (name for name, mode in scene.statement.acquired.items() if mode is Lock.AccessShare)


def _carried(
    story: Timeline, scene: StatementContext, root: str, works: Sequence[Work]
) -> Iterator[HazardFinding]:
    """Work that lets others pass, in a transaction whose earlier locks do not."""
    size = _size(story, scene, works)
    held = story.blocking_locks(scene, scene.statement.before)
    if held and story.sizes.is_large(scene.statement.database, root, size):
        yield under_locks(story, scene, "CM002", root, works, held)


def under_locks(
    story: Timeline,
    scene: StatementContext,
    hazard: str,
    root: str,
    works: Sequence[Work],
    held: dict[str, Lock],
) -> HazardFinding:
    """A finding about work that would let others pass, but for locks that its transaction holds already.

    Where only earlier revisions took those, that they share a transaction is the hazard.
    """
    size = _size(story, scene, works)
    return story.finding(
        scene,
        "CM041" if _from_other_revisions(story, scene, held) else hazard,
        Severity.ERROR,
        root,
        f"{root} is {format_size(size)}, and the transaction already holds {describe_waits(held)}",
        relation=root,
        lock=describe_waits(held),
        work=_in_words(works),
        size=size,
        estimate=estimate(_main(works), size),
    )


def _blocks_by_itself(scene: StatementContext, work: Work) -> bool:
    """Whether the statement would make others wait in a transaction of its own, too.

    A lock that is held already is not taken again, so that then what the statement does has to tell.
    """
    said = scene.statement
    if said.acquired.get(work.relation, 0) >= Lock.Share:
        return True
    already = said.before.get(work.relation, 0) >= Lock.Share
    return already and bool(said.changes) and not _VALIDATES.search(said.sql)


def _cause(scene: StatementContext, work: Work) -> str:
    """The hazard of work under the statement's own lock; empty where another rule says it better."""
    said = scene.statement
    if _REFRESH.search(said.sql):
        return "" if _CONCURRENTLY.search(said.sql) else "CM066"
    if _ATTACH.search(said.sql):
        return "CM067"
    if any(set(_RETYPED) & set(change.fields) for change in scene.changes(Op.CHANGED, "column")):
        return "CM061"
    if any(each.task is Task.REWRITE and each.relation == work.relation for each in said.work):
        new_column = any(
            change.key.kind == "column" and scene.existed(change.owner) for change in scene.added
        )
        return "CM001" if new_column else "CM069"
    return _of_rule(scene, work.task)


def _of_rule(scene: StatementContext, task: Task) -> str:
    """The hazard of rows that are read, for a new constraint or index."""
    if task is Task.FK_VALIDATION:
        return "CM009"
    if task is Task.SCAN:
        return "" if any(map(is_required, scene.added)) else "CM007"
    if _REINDEX.search(scene.statement.sql):
        return "CM058"
    return _of_index(scene)


def _of_index(scene: StatementContext) -> str:
    added = {
        change.fields.get("type", ("", ""))[1] for change in scene.added if change.key.kind == "constraint"
    }
    if "exclusion" in added:
        return "CM063"
    if added & {"unique", "primary key"}:
        return "CM062"
    partitioned = any(
        scene.before.get(change.owner, {}).get("partition_key")
        for change in scene.added
        if change.key.kind == "index" and change.owner is not None
    )
    return "CM068" if partitioned else "CM008"


def is_required(change: Change) -> bool:
    """Whether it is a new column that needs a value in every row and has none to give."""
    if change.key.kind != "column" or change.op is not Op.ADDED:
        return False
    now = {name: sides[1] for name, sides in change.fields.items()}
    filled = any(now.get(name) for name in ("default", "generated", "identity"))
    return now.get("not_null") == "yes" and not filled and not now.get("inherited")


def _from_other_revisions(story: Timeline, scene: StatementContext, held: Iterable[str]) -> bool:
    """Whether all these locks were taken by revisions before the statement's own."""
    takers = {
        name: earlier.statement.revision
        for earlier in story.scenes
        if earlier.group == scene.group and earlier.place < scene.place
        for name, mode in earlier.statement.acquired.items()
        if mode.blocks_writes and name in held
    }
    return bool(takers) and scene.statement.revision not in takers.values()


def _size(story: Timeline, scene: StatementContext, works: Iterable[Work]) -> Size | None:
    relations = dict.fromkeys(work.relation for work in works)
    return story.sizes.together(scene.statement.database, relations)


def _main(works: Iterable[Work]) -> Task:
    """The longest of several tasks."""
    return min((work.task for work in works), key=_ORDER.index)


def _in_words(works: Iterable[Work]) -> str:
    return "; ".join(dict.fromkeys(f"{work.task} of {work.relation}" for work in works))
