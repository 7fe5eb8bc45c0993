"""Suppressions of findings by revision files, settings or a baseline.

A comment in a revision file, `# circle: ignore[ID, ID] reason=TEXT until=DATE`, applies to the statement that
it is in, beside or above. A dictionary in the file,

    safety = {"ignore": {"CM012": "unused since release 4"}, "assume": {"users": "small"}}

applies to all statements of the revision in both directions; `assume` overrides the measured size of tables.
Files are parsed and not run.
"""

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

from circle_migrate.config import ignore_rule
from circle_migrate.config.assumed_size import AssumedSize, SizeAssumption
from circle_migrate.core.errors import ExitCode, TreeError, UsageError
from circle_migrate.core.findings import Severity
from circle_migrate.revision_graph.plan import Direction
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.safety.hazards.hazard import HAZARDS
from circle_migrate.safety.result import HazardFinding, SuppressedFinding, SuppressionSource

_EXPIRED, _UNUSED = "CM082", "CM081"
_PROBLEMS: dict[type[UsageError], str] = {
    ignore_rule.UnknownHazardError: _UNUSED,
    ignore_rule.NoReasonError: "CM080",
    ignore_rule.NoDateError: _EXPIRED,
}
OWN_HAZARDS = frozenset(_PROBLEMS.values())
"""The hazards of suppressions, which cannot be suppressed."""

_COMMENT = re.compile(r"#\s*circle:\s*ignore\b(?:\s*\[(?P<hazards>[^\]]*)\])?(?P<rest>.*)")
_REASON = re.compile(r"(?:^|\s)reason=")
_UNTIL = re.compile(r"(?:^|\s)until=(\S*)")
_VARIABLE = "safety"
_EXAMPLE = '{"ignore": {"CM012": "the reason"}, "assume": {"users": "small"}}'
_FUNCTIONS = ("upgrade", "downgrade")


@dataclass(frozen=True, slots=True)
class Suppression:
    """A rule and where it is declared; without a `revision` it is from the settings.

    A comment applies to the lines `span` of its file. `function` is the function that it is in, or empty.
    """

    rule: ignore_rule.IgnoreRule
    source: SuppressionSource
    revision: Revision | None = None
    line: int | None = None
    span: tuple[int, int] | None = None
    function: str = ""

    def covers(self, finding: HazardFinding) -> bool:
        """Return whether it applies to a finding, even if it has expired."""
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
    """The suppressions and assumed table sizes in revision files; `problems` are invalid suppressions."""

    suppressions: list[Suppression] = field(default_factory=list)
    assumptions: list[SizeAssumption] = field(default_factory=list)
    problems: list[HazardFinding] = field(default_factory=list)

    def add(
        self,
        source: SuppressionSource,
        revision: Revision,
        line: int,
        text: str,
        hazards: str,
        reason: str,
        span: tuple[int, int] | None = None,
        function: str = "",
    ) -> None:
        """Add a suppression; its `reason` may contain `until=DATE`."""
        until = _UNTIL.search(reason)
        try:
            until_date = until and until[1]
            rule = ignore_rule.hazard_rule(text, hazards, _UNTIL.sub("", reason), until_date, HAZARDS)
        except UsageError as error:
            self.problems.append(_problem(_PROBLEMS[type(error)], error.message, revision, line))
        else:
            self.suppressions.append(Suppression(rule, source, revision, line, span, function))


@dataclass(frozen=True, slots=True)
class SuppressionResult:
    """The remaining findings, with those about suppressions, and the suppressed ones."""

    findings: tuple[HazardFinding, ...]
    suppressed: tuple[SuppressedFinding, ...]


def apply_suppressions(
    findings: Iterable[HazardFinding],
    annotations: FileAnnotations,
    rules: Iterable[ignore_rule.IgnoreRule],
    known: Collection[str],
    *,
    direction: Direction | None,
    untraced: Collection[str] = (),
    today: date | None = None,
) -> SuppressionResult:
    """Suppress findings; an unused suppression is one, but not in `untraced` or without a `direction`."""
    today = today or datetime.now(UTC).date()
    of_settings = (Suppression(rule, SuppressionSource.SETTINGS) for rule in rules)
    suppressions = [*annotations.suppressions, *of_settings]
    remaining: list[HazardFinding] = []
    suppressed: list[SuppressedFinding] = []
    used: set[Suppression] = set()
    for finding in findings:
        applicable = [suppression for suppression in suppressions if suppression.covers(finding)]
        used.update(applicable)
        active = next((match for match in applicable if not match.rule.has_expired(today)), None)
        if active is not None:
            reason, until = active.rule.reason, active.rule.until
            suppressed.append(SuppressedFinding(finding, active.source, reason, until))
        elif finding.fingerprint in known:
            suppressed.append(suppress_by_baseline(finding))
        else:
            remaining.append(finding)
    remaining += annotations.problems
    for suppression in suppressions:
        ids = ", ".join(suppression.rule.hazards)
        if suppression.rule.has_expired(today):
            setting = "" if suppression.revision else " in safety-ignore"
            message = f"{ids}{setting}: it expired after {suppression.rule.until}"
            remaining.append(_problem(_EXPIRED, message, suppression.revision, suppression.line))
        elif suppression not in used and suppression.revision and direction is not None:
            if suppression.revision.qualified in untraced:
                continue
            remaining += _unused(suppression, suppression.revision, direction)
    return SuppressionResult(tuple(remaining), tuple(suppressed))


def suppress_by_baseline(finding: HazardFinding) -> SuppressedFinding:
    """Return a finding as suppressed by the baseline."""
    return SuppressedFinding(finding, SuppressionSource.BASELINE, "it is in the baseline")


def _unused(suppression: Suppression, revision: Revision, direction: Direction) -> Iterator[HazardFinding]:
    """Yield a finding for an unused suppression, but not for a comment outside of the traced function."""
    traced, other = _FUNCTIONS if direction is Direction.UP else reversed(_FUNCTIONS)
    message = f"{', '.join(suppression.rule.hazards)}: it suppresses nothing"
    if suppression.source is SuppressionSource.REVISION:
        message += f" in {traced}(); if it is meant for {other}() only, write a comment there"
    elif suppression.function != traced:
        return
    yield _problem(_UNUSED, message, revision, suppression.line, Severity.NOTE)


def _problem(
    hazard: str,
    message: str,
    revision: Revision | None,
    line: int | None,
    severity: Severity = Severity.WARNING,
) -> HazardFinding:
    """Return a finding about a suppression in a revision file or in the settings."""
    text = f"{HAZARDS[hazard].title}: {message}"
    subject = "safety-ignore" if line is None else f"line {line}"
    finding = HazardFinding(hazard, severity, text, ExitCode.REFUSED, line=line, subject=subject)
    if revision is None:
        return finding
    return replace(finding, database=revision.database, revision=revision.id, file=revision.path)


def read_annotations(revisions: Iterable[Revision]) -> FileAnnotations:
    """Read the annotations of revisions. Raises `TreeError` for an invalid `safety` dictionary."""
    annotations = FileAnnotations()
    for revision in revisions:
        with tokenize.open(revision.path) as file:  # in the encoding that the file declares
            text = file.read()
        if _VARIABLE not in text and _COMMENT.search(text) is None:
            continue
        tree = ast.parse(text, revision.path)
        _read_comments(annotations, revision, text, tree)
        _read_dictionary(annotations, revision, tree)
    return annotations


def _read_comments(annotations: FileAnnotations, revision: Revision, text: str, tree: ast.Module) -> None:
    spans = _spans(tree)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        match = _COMMENT.match(token.string) if token.type == tokenize.COMMENT else None
        if match is None:
            continue
        line, comment = token.start[0], token.string
        own_line = not token.line[: token.start[1]].strip()
        span = _covered_lines(spans, line, text.splitlines(), own_line=own_line)
        hazards, rest = match["hazards"] or "", match["rest"]
        reason = _REASON.sub(" ", rest, 1) if _REASON.search(rest) else ""
        source, function = SuppressionSource.COMMENT, _function(tree, line)
        annotations.add(source, revision, line, comment, hazards, reason, span, function)


def _covered_lines(
    spans: Sequence[tuple[int, int]], line: int, lines: Sequence[str], *, own_line: bool
) -> tuple[int, int]:
    """Return the lines of the statement that a comment is in, else of the next statement."""
    enclosing = [span for span in spans if span[0] <= line <= span[1]]
    if enclosing:
        return max(enclosing)
    following = line + 1
    while own_line and following <= len(lines) and lines[following - 1].lstrip()[:1] in ("", "#"):
        following += 1
    return max((span for span in spans if span[0] == following), default=(line, line))


def _spans(tree: ast.Module) -> list[tuple[int, int]]:
    """Return the first and last line of each statement, of a compound statement only those of its header."""
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
    """Return the name of the revision's function that contains a line; empty if none does."""
    for node in tree.body:
        inside = node.lineno <= line <= (node.end_lineno or node.lineno)
        if inside and isinstance(node, ast.FunctionDef) and node.name in _FUNCTIONS:
            return node.name
    return ""


def _read_dictionary(annotations: FileAnnotations, revision: Revision, tree: ast.Module) -> None:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value, names = getattr(node, "value", None), {getattr(target, "id", None) for target in targets}
        if value is None or _VARIABLE not in names:
            continue
        line = node.lineno
        annotation = _literal(revision, line, value)
        for hazard, text in annotation.get("ignore", {}).items():
            if hazard not in HAZARDS:
                raise _annotation_error(revision, line, f"there is no hazard {hazard}")
            annotations.add(SuppressionSource.REVISION, revision, line, hazard, hazard, text)
        for name, size in annotation.get("assume", {}).items():
            if size not in set(AssumedSize):
                raise _annotation_error(revision, line, f"{name} is {size}, not {' or '.join(AssumedSize)}")
            annotations.assumptions.append(SizeAssumption(name, AssumedSize(size), revision.database))


def _literal(revision: Revision, line: int, value: ast.expr) -> dict[str, dict[str, str]]:
    try:
        annotation: Any = ast.literal_eval(value)
    except ValueError:
        raise _annotation_error(revision, line, "it is not a literal") from None
    if not isinstance(annotation, dict) or not annotation.keys() <= {"ignore", "assume"}:
        raise _annotation_error(revision, line, "only the keys ignore and assume are valid")
    for part in annotation.values():
        if not isinstance(part, dict) or not all(
            isinstance(text, str) for pair in part.items() for text in pair
        ):
            raise _annotation_error(revision, line, "keys and values must be strings")
    return annotation


def _annotation_error(revision: Revision, line: int, reason: str) -> TreeError:
    return TreeError(
        f"`{_VARIABLE}` of revision {revision.id} is invalid: {reason}",
        database=revision.database,
        location=f"{revision.path}:{line}",
        hint=f"write it as a literal, for example: {_VARIABLE} = {_EXAMPLE}",
    )
