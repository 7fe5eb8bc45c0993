"""What only a linter of texts has seen, weighed against what was traced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from circle_migrate.core.findings import Severity
from circle_migrate.core.live import Ask
from circle_migrate.core.safety import Confidence, HazardFinding
from circle_migrate.core.squawk_rules import SquawkFinding
from circle_migrate.core.verdicts.names import code, matcher
from circle_migrate.core.verdicts.story import Scene, Story

_UNSEEN = {"CM032": matcher(r"\bRESTART\b|\bsetval\b"), "CM047": matcher("")}
"""Hazards that leave nothing in a catalogue, in locks or in messages, and the words that have to do."""

_OPAQUE = matcher(r"(?:DO|CALL|EXECUTE)\b|SELECT\b.*\w\s*\(")


def linting(story: Story, found: Sequence[HazardFinding]) -> Iterator[HazardFinding]:
    """The findings of squawk that no other rule could have made.

    Where statements were traced, silence of the trace disproves the linter.
    """
    known = {(each.place, each.rule) for each in found}
    for finding in story.evidence.squawk:
        if finding.statement >= len(story.scenes) or finding.hazard is None:
            continue
        scene = story.scenes[finding.statement]
        if (finding.statement, finding.hazard) not in known and _counts(story, scene, finding):
            yield story.finding(
                scene,
                finding.hazard,
                Severity.WARNING,
                finding.rule,
                f"{finding.message} (squawk, {finding.url})",
                confidence=Confidence.STATIC,
            )


def opaque(story: Story) -> Iterator[HazardFinding]:
    """Statements whose text does not show what they do, where nothing was run."""
    for scene in () if story.evidence.traced else story.scenes:
        if _OPAQUE.match(code(scene.statement.sql)):
            yield story.finding(
                scene,
                "CM060",
                Severity.WARNING,
                "statement",
                "no scratch database has run it: it may do anything",
            )


def _counts(story: Story, scene: Scene, finding: SquawkFinding) -> bool:
    if not story.evidence.traced:
        return True
    words = _UNSEEN.get(finding.hazard or "")
    if words is None or scene.statement.error is not None or not words.search(scene.statement.sql):
        return False
    return not any(
        each.probe.ask is Ask.BEHIND and each.probe.statement == scene.place
        for each in story.evidence.answers
    )
