"""Locks that are a hazard whatever is done under them: unseen, several, without a timeout, waited for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.sql_text import matcher, own_name, says
from circle_migrate.safety.live_database.record import Blocker
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.timeline import StatementContext, Timeline, describe_waits
from circle_migrate.safety.trace.record import Lock

_DETACH = matcher(r"\bDETACH\s+PARTITION\b(?!.*\b(?:CONCURRENTLY|FINALIZE)\b)")
_NO_TIMEOUT = matcher(
    r"\bSET\s+(?:LOCAL\s+|SESSION\s+)?lock_timeout\s*(?:=|TO)\s*'?\s*0\s*(?:ms|s|min|h|d)?\s*'?\s*;?\s*$"
    r"|\bset_config\s*\(\s*'lock_timeout'\s*,\s*'\s*0\s*(?:ms|s|min|h|d)?\s*'"
)


def check_locks(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about the locks of a statement."""
    yield from _unnamed(story, scene)
    yield from _several(story, scene)
    yield from _detached(story, scene)
    yield from _unbounded(story, scene)


def _unnamed(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    said = scene.statement
    for relation, mode in said.acquired.items():
        root = story.root(said.database, relation)
        named = any(says(said.sql, name) for name in _called(scene, relation, root))
        if mode < Lock.ShareRowExclusive or named or not story.holds_rows(said.database, relation):
            continue
        large = story.is_large(scene, relation) and mode.blocks_reads
        yield story.finding(
            scene,
            "CM003",
            Severity.WARNING if large else Severity.NOTE,
            relation,
            f"the statement does not name {relation}, and locks it",
            relation=relation,
            lock=describe_waits({relation: mode}),
        )


def _called(scene: StatementContext, relation: str, root: str) -> Iterator[str]:
    """What a statement may call a relation of before the plan: by its names, or by a part that it changes."""
    yield from (own_name(each) for each in (relation, root))
    for key, origin in scene.origins.items():
        if origin is not None and origin.identity == relation:
            yield own_name(key.identity)
    for change in scene.statement.changes:
        if change.owner is not None and scene.live_relation(change.owner) == relation:
            yield own_name(change.key.identity)


def _several(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Two large tables that nobody can use at the same time; partitions are part of their table."""
    said = scene.statement
    everything = _exclusive(story, scene, said.locks)
    new = _exclusive(story, scene, said.acquired) - _exclusive(story, scene, said.before)
    if not new or len(everything) < 2:
        return
    names = sorted(everything)
    subject = sorted(new)[-1]
    yield story.finding(
        scene,
        "CM004",
        Severity.WARNING,
        subject,
        f"the transaction holds ACCESS EXCLUSIVE on {' and '.join(names)} together",
        relation=subject,
        lock=describe_waits(dict.fromkeys(names, Lock.AccessExclusive)),
    )


def _exclusive(story: Timeline, scene: StatementContext, locks: Mapping[str, Lock]) -> set[str]:
    return {
        story.root(scene.statement.database, name)
        for name, mode in locks.items()
        if mode.blocks_reads and story.is_large(scene, name)
    }


def _detached(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    held = story.blocking_locks(scene, scene.statement.acquired)
    if not _DETACH.search(scene.statement.sql) or scene.statement.error is not None:
        return
    for relation in sorted(scene.statement.acquired):
        if scene.before and story.root(scene.statement.database, relation) == relation:
            yield story.finding(
                scene,
                "CM059",
                Severity.WARNING if held else Severity.NOTE,
                relation,
                "it waits for every query on the partitioned table, and everybody later waits for it",
                relation=relation,
                lock=describe_waits(scene.statement.acquired),
            )
            return


def _unbounded(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """A lock timeout of none, and the locks that are waited for without end then."""
    if not _NO_TIMEOUT.search(scene.statement.sql):
        return
    later = (
        statement_context
        for statement_context in story.scenes
        if statement_context.place > scene.place and statement_context.group == scene.group
    )
    held = [
        locks
        for statement_context in later
        if (locks := story.blocking_locks(statement_context, statement_context.statement.acquired))
    ]
    yield story.finding(
        scene,
        "CM051",
        Severity.WARNING if held else Severity.NOTE,
        "lock_timeout",
        "whatever is locked after it is waited for without end"
        + (f": {describe_waits(held[0])}" if held else ""),
        lock=describe_waits(held[0]) if held else "",
    )


def check_blockers(story: Timeline) -> Iterator[HazardFinding]:
    """Who holds now what a statement will wait for: told of the first statement that takes each lock."""
    for database, blockers in story.evidence.blockers.items():
        for scene in story.scenes:
            if scene.statement.database == database:
                yield from _by(story, scene, blockers)


def _by(story: Timeline, scene: StatementContext, blockers: Iterable[Blocker]) -> Iterator[HazardFinding]:
    taken = scene.statement.acquired
    for blocker in blockers:
        mode = taken.get(blocker.relation)
        if mode is None or mode < Lock.ShareUpdateExclusive:
            continue
        held = "a snapshot" if blocker.held is None else blocker.held.sql
        yield story.finding(
            scene,
            "CM050",
            Severity.WARNING,
            blocker.who,
            f"{blocker.who} holds {held} on {blocker.relation} for {blocker.since_seconds:.0f} s by now",
            relation=blocker.relation,
            lock=describe_waits({blocker.relation: mode}),
            confidence=Confidence.LIVE,
        )
