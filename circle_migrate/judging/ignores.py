"""Ignores in revision files: comments beside statements, and the module's own `safety`, read statically.

Of a file with

    safety = {"ignore": {"CM012": "nobody has used it since 4"}, "assume": {"users": "small"}}

the first part holds for all statements of the revision in either direction, the second says how large tables
are taken to be, whatever was measured. A comment holds for the statement it stands in, beside or above.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circle_migrate.core.hazards import HAZARDS
from circle_migrate.core.revisions import Revision
from circle_migrate.core.suppressing import COMMENT, Fault, Malformed, Source, Suppression, decision, reasoned
from circle_migrate.core.weights import Assumption, Weight
from circle_migrate.errors import TreeError

_NAME = "safety"
_FUNCTIONS = ("upgrade", "downgrade")
_EXAMPLE = '{"ignore": {"CM012": "why"}, "assume": {"users": "small"}}'


@dataclass(frozen=True, slots=True)
class Declared:
    """What revision files say about being judged; `faults` are suppressions that hide nothing."""

    suppressions: tuple[Suppression, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    faults: tuple[Fault, ...] = ()


def declared(revisions: Sequence[Revision]) -> Declared:
    """What the files of these revisions say. Raises `TreeError` where `safety` is not of its form."""
    suppressions: list[Suppression] = []
    assumptions: list[Assumption] = []
    faults: list[Fault] = []
    for revision in revisions:
        text = Path(revision.path).read_text(encoding="utf-8-sig")
        tree = ast.parse(text, revision.path)
        for found in (*_comments(revision, text, tree), *_of_module(revision, tree)):
            if isinstance(found, Fault):
                faults.append(found)
            elif isinstance(found, Suppression):
                suppressions.append(found)
            else:
                assumptions.append(found)
    return Declared(tuple(suppressions), tuple(assumptions), tuple(faults))


def _comments(revision: Revision, text: str, tree: ast.Module) -> Iterator[Suppression | Fault]:
    spans = _spans(tree)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        match = COMMENT.match(token.string) if token.type == tokenize.COMMENT else None
        if match is None:
            continue
        line = token.start[0]
        alone = not token.line[: token.start[1]].strip()
        try:
            said = decision(match["ids"], match["rest"], HAZARDS)
        except Malformed as problem:
            yield Fault(problem.hazard, problem.message, revision.qualified, revision.path, line)
            continue
        yield Suppression(
            said.hazards,
            said.reason,
            Source.COMMENT,
            said.until,
            revision=revision.qualified,
            file=revision.path,
            line=line,
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


def _of_module(revision: Revision, tree: ast.Module) -> Iterator[Suppression | Assumption | Fault]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if value is not None and any(isinstance(each, ast.Name) and each.id == _NAME for each in targets):
            yield from _table(revision, node.lineno, _literal(revision, node.lineno, value))


def _literal(revision: Revision, line: int, value: ast.expr) -> dict[str, dict[str, str]]:
    try:
        found: Any = ast.literal_eval(value)
    except ValueError:
        raise _wrong(revision, line, "it is computed") from None
    if not isinstance(found, dict) or not found.keys() <= {"ignore", "assume"}:
        raise _wrong(revision, line, "it has other keys than ignore and assume")
    for part in found.values():
        if not isinstance(part, dict) or not all(
            isinstance(text, str) for pair in part.items() for text in pair
        ):
            raise _wrong(revision, line, "it does not lead from texts to texts")
    return found


def _table(
    revision: Revision, line: int, table: dict[str, dict[str, str]]
) -> Iterator[Suppression | Assumption | Fault]:
    for key, text in table.get("ignore", {}).items():
        try:
            if key not in HAZARDS:
                raise _wrong(revision, line, f"there is no hazard {key}")
            reason, until = reasoned(text, bare=True)
        except Malformed as problem:
            message = f"{key}: {problem.message}"
            yield Fault(problem.hazard, message, revision.qualified, revision.path, line)
            continue
        yield Suppression(
            (key,),
            reason,
            Source.REVISION,
            until,
            revision=revision.qualified,
            file=revision.path,
            line=line,
        )
    for name, word in table.get("assume", {}).items():
        if word not in set(Weight):
            raise _wrong(revision, line, f"{name} is {word}, not {' or '.join(Weight)}")
        yield Assumption(name, Weight(word), revision.database)


def _wrong(revision: Revision, line: int, why: str) -> TreeError:
    return TreeError(
        f"`{_NAME}` of revision {revision.id} cannot be used: {why}",
        database=revision.database,
        location=f"{revision.path}:{line}",
        hint=f"write it as it stands: {_NAME} = {_EXAMPLE}",
    )
