"""Suppressions: findings that people accept, by revision files, settings or a baseline.

A comment in a revision file, `# circle: ignore[ID, ID] reason=TEXT until=DATE`, holds for the statement it
stands in, beside or above. The table of a file with

    safety = {"ignore": {"CM012": "nobody has used it since 4"}, "assume": {"users": "small"}}

holds for all statements of the revision in either direction; `assume` says how large tables count, whatever
was measured. Files are read and not run.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from circle_migrate.config.assumed_size import AssumedSize, SizeAssumption
from circle_migrate.config.ignore_rule import (
    IgnoreRule,
    NoDateError,
    NoReasonError,
    UnknownHazardError,
    hazard_rule,
)
from circle_migrate.core.errors import ExitCode, TreeError, UsageError
from circle_migrate.core.findings import Severity
from circle_migrate.revision_graph.plan import Direction
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.safety.hazards.loader import HAZARDS
from circle_migrate.safety.result import HazardFinding, Source, Suppressed

_EXPIRED, _UNUSED = "CM082", "CM081"
_PROBLEMS: dict[type[UsageError], str] = {
    UnknownHazardError: _UNUSED,
    NoReasonError: "CM080",
    NoDateError: _EXPIRED,
}
OWN_HAZARDS = frozenset(_PROBLEMS.values())
"""The hazards of suppressions themselves, which nothing suppresses."""

_COMMENT = re.compile(r"#\s*circle:\s*ignore\b(?:\s*\[(?P<hazards>[^\]]*)\])?(?P<rest>.*)")
_REASON = re.compile(r"(?:^|\s)reason=")
_UNTIL = re.compile(r"(?:^|\s)until=(\S*)")
_NAME = "safety"
_EXAMPLE = '{"ignore": {"CM012": "why"}, "assume": {"users": "small"}}'
_FUNCTIONS = ("upgrade", "downgrade")


@dataclass(frozen=True, slots=True)
class Suppression:
    """A rule and where it was written; one without a `revision` is from the settings.

    A comment holds for the lines `span` of its file; `function` is the revision's function that it stands in,
    empty outside of both.
    """

    rule: IgnoreRule
    source: Source
    revision: Revision | None = None
    line: int | None = None
    span: tuple[int, int] | None = None
    function: str = ""

    def covers(self, finding: HazardFinding) -> bool:
        """Whether it was written for the finding, expired or not."""
        if finding.rule not in self.rule.hazards or finding.rule in OWN_HAZARDS:
            return False
        if self.revision is None:
            names = (finding.relation, finding.subject or "", finding.revision or "")
            return self.rule.matches(finding.database or "", *names)
        if self.span is None:
            return self.revision.qualified == f"{finding.database}@{finding.revision}"
        return finding.file == self.revision.path and self.span[0] <= (finding.line or 0) <= self.span[1]


@dataclass(slots=True)
class FileAnnotations:
    """What revision files say about judging them; `problems` are suppressions that hide nothing."""

    suppressions: list[Suppression] = field(default_factory=list)
    assumptions: list[SizeAssumption] = field(default_factory=list)
    problems: list[HazardFinding] = field(default_factory=list)

    def add(
        self,
        source: Source,
        revision: Revision,
        line: int,
        text: str,
        hazards: str,
        reason: str,
        span: tuple[int, int] | None = None,
        function: str = "",
    ) -> None:
        """Add a suppression; its `reason` may have a last day in it."""
        until = _UNTIL.search(reason)
        try:
            rule = hazard_rule(text, hazards, _UNTIL.sub("", reason), until and until[1], HAZARDS)
        except UsageError as error:
            self.problems.append(_problem(_PROBLEMS[type(error)], error.message, revision, line))
        else:
            self.suppressions.append(Suppression(rule, source, revision, line, span, function))


@dataclass(frozen=True, slots=True)
class SuppressionResult:
    """The findings that stand, with those about suppressions, and the suppressed ones."""

    findings: tuple[HazardFinding, ...]
    suppressed: tuple[Suppressed, ...]


def apply_suppressions(
    findings: Iterable[HazardFinding],
    annotations: FileAnnotations,
    rules: Iterable[IgnoreRule],
    known: Collection[str],
    *,
    direction: Direction | None,
    untraced: Collection[str] = (),
    today: date | None = None,
) -> SuppressionResult:
    """Suppress findings that files, rules of the settings or a baseline of fingerprints, `known`, cover.

    A suppression of the revisions' function for `direction` that covers nothing is a finding, unless its
    revision is `untraced`; None where nothing was traced.
    """
    today = today or datetime.now(UTC).date()
    suppressions = [*annotations.suppressions, *(Suppression(rule, Source.SETTINGS) for rule in rules)]
    standing: list[HazardFinding] = []
    suppressed: list[Suppressed] = []
    used: set[Suppression] = set()
    for finding in findings:
        covering = [suppression for suppression in suppressions if suppression.covers(finding)]
        used.update(covering)
        active = next(
            (suppression for suppression in covering if not suppression.rule.has_expired(today)), None
        )
        if active is not None:
            suppressed.append(Suppressed(finding, active.source, active.rule.reason, active.rule.until))
        elif finding.fingerprint in known:
            suppressed.append(in_baseline(finding))
        else:
            standing.append(finding)
    standing += annotations.problems
    for suppression in suppressions:
        ids = ", ".join(suppression.rule.hazards)
        if suppression.rule.has_expired(today):
            where = "" if suppression.revision else " of safety-ignore"
            message = f"{ids}{where}: it has held until {suppression.rule.until}"
            standing.append(_problem(_EXPIRED, message, suppression.revision, suppression.line))
        elif (
            suppression not in used
            and suppression.revision
            and suppression.revision.qualified not in untraced
        ):
            standing += _unused(suppression, suppression.revision, direction)
    return SuppressionResult(tuple(standing), tuple(suppressed))


def in_baseline(finding: HazardFinding) -> Suppressed:
    """Suppress a finding that a baseline knows."""
    return Suppressed(finding, Source.BASELINE, "it is in the baseline")


def _unused(
    suppression: Suppression, revision: Revision, direction: Direction | None
) -> Iterator[HazardFinding]:
    """A finding about what covers nothing; a comment outside of the judged function may be for the other."""
    if direction is None:
        return
    judged, other = _FUNCTIONS if direction is Direction.UP else reversed(_FUNCTIONS)
    message = f"{', '.join(suppression.rule.hazards)}: it hides nothing"
    if suppression.source is Source.REVISION:
        message += f" of {judged}(); for {other}() alone, write a comment there"
    elif suppression.function != judged:
        return
    yield _problem(_UNUSED, message, revision, suppression.line, Severity.NOTE)


def _problem(
    hazard: str,
    message: str,
    revision: Revision | None,
    line: int | None,
    severity: Severity = Severity.WARNING,
) -> HazardFinding:
    """Make a finding about a suppression of a revision's file, or of the settings."""
    return HazardFinding(
        hazard,
        severity,
        f"{HAZARDS[hazard].title}: {message}",
        ExitCode.REFUSED,
        database=revision and revision.database,
        revision=revision and revision.id,
        file=revision and revision.path,
        line=line,
        subject="safety-ignore" if line is None else f"line {line}",
    )


def read_annotations(revisions: Iterable[Revision]) -> FileAnnotations:
    """Read the files of these revisions. Raises `TreeError` for a `safety` that is not of its form."""
    annotations = FileAnnotations()
    for revision in revisions:
        text = Path(revision.path).read_text(encoding="utf-8-sig")
        tree = ast.parse(text, revision.path)
        _read_comments(annotations, revision, text, tree)
        _read_tables(annotations, revision, tree)
    return annotations


def _read_comments(annotations: FileAnnotations, revision: Revision, text: str, tree: ast.Module) -> None:
    spans = _spans(tree)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        match = _COMMENT.match(token.string) if token.type == tokenize.COMMENT else None
        if match is None:
            continue
        line = token.start[0]
        alone = not token.line[: token.start[1]].strip()
        annotations.add(
            Source.COMMENT,
            revision,
            line,
            token.string,
            match["hazards"] or "",
            _REASON.sub(" ", match["rest"], 1) if _REASON.search(match["rest"]) else "",
            span=_covered(spans, line, text.splitlines(), alone=alone),
            function=_function(tree, line),
        )


def _covered(
    spans: Sequence[tuple[int, int]], line: int, lines: Sequence[str], *, alone: bool
) -> tuple[int, int]:
    """The lines of the statement that a comment stands in, or else of the next one."""
    around = [span for span in spans if span[0] <= line <= span[1]]
    if around:
        return max(around)
    following = line + 1
    while alone and following <= len(lines) and lines[following - 1].lstrip()[:1] in ("", "#"):
        following += 1
    below = [span for span in spans if span[0] == following]
    return max(below, default=(line, line))


def _spans(tree: ast.Module) -> list[tuple[int, int]]:
    """First and last line of every statement; of one that has a body, of what stands above that."""
    spans = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt):
            continue
        last = node.end_lineno or node.lineno
        if getattr(node, "body", None):
            parts = (getattr(part, "context_expr", part) for part in ast.iter_child_nodes(node))
            ends = [part.end_lineno or 0 for part in parts if isinstance(part, ast.expr)]
            last = max([node.lineno, *ends])
        spans.append((node.lineno, last))
    return spans


def _function(tree: ast.Module, line: int) -> str:
    for node in tree.body:
        inside = node.lineno <= line <= (node.end_lineno or node.lineno)
        if inside and isinstance(node, ast.FunctionDef) and node.name in _FUNCTIONS:
            return node.name
    return ""


def _read_tables(annotations: FileAnnotations, revision: Revision, tree: ast.Module) -> None:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if value is None or not any(
            isinstance(target, ast.Name) and target.id == _NAME for target in targets
        ):
            continue
        line = node.lineno
        table = _literal(revision, line, value)
        for hazard, text in table.get("ignore", {}).items():
            if hazard not in HAZARDS:
                raise _table_error(revision, line, f"there is no hazard {hazard}")
            annotations.add(Source.REVISION, revision, line, hazard, hazard, text)
        for name, word in table.get("assume", {}).items():
            if word not in set(AssumedSize):
                raise _table_error(revision, line, f"{name} is {word}, not {' or '.join(AssumedSize)}")
            annotations.assumptions.append(SizeAssumption(name, AssumedSize(word), revision.database))


def _literal(revision: Revision, line: int, value: ast.expr) -> dict[str, dict[str, str]]:
    try:
        table: Any = ast.literal_eval(value)
    except ValueError:
        raise _table_error(revision, line, "it is computed") from None
    if not isinstance(table, dict) or not table.keys() <= {"ignore", "assume"}:
        raise _table_error(revision, line, "it has other keys than ignore and assume")
    for part in table.values():
        if not isinstance(part, dict) or not all(
            isinstance(text, str) for pair in part.items() for text in pair
        ):
            raise _table_error(revision, line, "it does not lead from texts to texts")
    return table


def _table_error(revision: Revision, line: int, why: str) -> TreeError:
    return TreeError(
        f"`{_NAME}` of revision {revision.id} cannot be used: {why}",
        database=revision.database,
        location=f"{revision.path}:{line}",
        hint=f"write it as it stands: {_NAME} = {_EXAMPLE}",
    )
