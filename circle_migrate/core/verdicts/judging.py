"""The judge: every rule asked of every statement, and one verdict left for each cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from circle_migrate.core.traces import Doubtful
from circle_migrate.core.verdicts import names
from circle_migrate.core.verdicts.across import across
from circle_migrate.core.verdicts.breaking import altering, ending
from circle_migrate.core.verdicts.failing import answered, failing
from circle_migrate.core.verdicts.fixing import code
from circle_migrate.core.verdicts.forming import committing, forming
from circle_migrate.core.verdicts.guarding import guarding, replicating
from circle_migrate.core.verdicts.locking import blocked, locking
from circle_migrate.core.verdicts.losing import losing
from circle_migrate.core.verdicts.record import Confidence, Evidence, Level, Verdict
from circle_migrate.core.verdicts.resting import resting
from circle_migrate.core.verdicts.story import Story
from circle_migrate.core.verdicts.working import working
from circle_migrate.core.verdicts.writing import writing

_OPAQUE = names.matcher(r"(?:DO|CALL|EXECUTE)\b|SELECT\b.*\w\s*\(")
_OF_STATEMENTS = (working, writing, locking, losing, guarding, resting, failing, altering, forming)
_OF_TRANSACTIONS = (ending, replicating)
_OF_PLANS = (answered, blocked, committing, across)


def judge(evidence: Evidence) -> tuple[Verdict, ...]:
    """The verdicts about a plan, in the order in which its statements run, the worst first for each.

    There is one for each hazard, statement and object, with the strongest confidence that any source has.
    """
    story = Story(evidence)
    found = [*_traced(story)]
    found += _untraced(evidence)
    found += _of_revisions("CM045", Level.WARNING, Confidence.TRACED, evidence.trace.unreturned)
    found += _of_revisions("CM044", Level.NOTE, Confidence.STATIC, evidence.trace.unlike)
    found += _opaque(story)
    return tuple(sorted((_fixed(story, each) for each in _merged(found)), key=_order))


def _fixed(story: Story, verdict: Verdict) -> Verdict:
    """The verdict with code for its own statement, where there is some."""
    if verdict.place is None:
        return verdict
    return replace(verdict, code=code(story.scenes[verdict.place], verdict))


def _traced(story: Story) -> Iterator[Verdict]:
    for rule in _OF_STATEMENTS:
        for scene in story.scenes:
            yield from rule(story, scene)
    for of_group in _OF_TRANSACTIONS:
        for scenes in story.groups:
            yield from of_group(story, scenes)
    for of_plan in _OF_PLANS:
        yield from of_plan(story)


def _untraced(evidence: Evidence) -> Iterator[Verdict]:
    """Revisions of which nothing, or not the whole, is known."""
    for name in evidence.trace.untraced:
        database, _, revision = name.partition("@")
        yield Verdict(
            hazard="CM060",
            level=Level.WARNING,
            confidence=Confidence.STATIC,
            database=database,
            revision=revision,
            subject=name,
            why="; ".join(("it was not traced to its end", *evidence.trace.notes)),
        )


def _opaque(story: Story) -> Iterator[Verdict]:
    """Yield a finding for each statement whose text does not show what it does, where nothing was traced."""
    for scene in () if story.evidence.traced else story.scenes:
        if _OPAQUE.match(names.code(scene.statement.sql)):
            yield story.verdict(
                scene,
                "CM060",
                Level.WARNING,
                "statement",
                "no scratch database has run it: it may do anything",
            )


def _of_revisions(
    hazard: str, level: Level, confidence: Confidence, doubtful: Iterable[Doubtful]
) -> Iterator[Verdict]:
    """Revisions that something is wrong with beside what they do."""
    for each in doubtful:
        yield Verdict(
            hazard=hazard,
            level=level,
            confidence=confidence,
            database=each.database,
            revision=each.revision,
            subject=f"{each.database}@{each.revision}",
            why=each.why,
        )


def _merged(verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    found: dict[tuple[object, ...], Verdict] = {}
    for each in verdicts:
        cause = (each.hazard, each.database, each.place, each.subject)
        other = found.get(cause)
        found[cause] = each if other is None else _stronger(other, each)
    yield from found.values()


def _stronger(one: Verdict, other: Verdict) -> Verdict:
    """The worse of two about one cause, as sure as the surer one."""
    worse = min(one, other, key=lambda each: each.level.rank)
    surer = min(one.confidence, other.confidence, key=lambda each: each.rank)
    return replace(worse, confidence=surer)


def _order(verdict: Verdict) -> tuple[object, ...]:
    unplaced = verdict.place is None
    return (unplaced, verdict.place or 0, verdict.level.rank, verdict.hazard, verdict.subject)
