"""A plan as the statements that Alembic renders for it, where there is nothing to run it on.

What is rendered is not always what runs: a revision that reads the database has no such text, and others say
less in it. It does for an opinion of low confidence, and for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.core.redaction import redact
from circle_migrate.postgres.sql_text import code
from circle_migrate.revision_graph.plan import Plan, Segment, Step
from circle_migrate.safety.trace.record import RevisionIssue, Trace, TracedStatement

if TYPE_CHECKING:
    from circle_migrate.migrate.alembic_adapter.runner import Runner
    from circle_migrate.postgres.deployment import Deployment


_WORD = re.compile(r'(?:"(?:[^"]|"")*"|[\w$.])+')
_WORDS = 3
"""So many words of a statement tell which it is: how it goes on depends on how values are given."""

_LOOKING = frozenset({"SELECT", "SHOW", "VALUES", "EXPLAIN", "TABLE", "SET", "RESET", "BEGIN", "COMMIT"})
"""First words of statements that change nothing."""


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A step as it is rendered; without statements where it cannot be, and why."""

    segment: int
    step: Step
    statements: tuple[str, ...] = ()
    refused: str = ""


async def rendered(deployment: Deployment, plan: Plan, major: int) -> Trace:
    """The text of each step as one statement, for servers of a major version; no step is run.

    Those that have none are `untraced`. Raises `TreeError` for a file that cannot be loaded.
    """
    statements: list[TracedStatement] = []
    silent: list[str] = []
    notes: list[str] = []
    for rendered in await _rendered(deployment, plan):
        revision = rendered.step.revision
        if rendered.refused:
            silent.append(revision.qualified)
            notes.append(f"{revision.qualified}: {rendered.refused}")
            continue
        text = redact("".join(rendered.statements))
        statements.append(
            TracedStatement(
                revision.database, rendered.segment, revision.id, text, revision.path, revision.line
            )
        )
    return Trace(tuple(statements), tuple(silent), major, tuple(notes))


async def compared(deployment: Deployment, plan: Plan, trace: Trace) -> tuple[RevisionIssue, ...]:
    """The revisions of which other statements are rendered than have run.

    Not those that cannot be rendered, which nobody takes for anything else, nor those that did not run to
    their end. Raises `TreeError`.
    """
    cut_off = {
        *trace.untraced,
        *(f"{statement.database}@{statement.revision}" for statement in trace.statements if statement.error),
    }
    ran: dict[str, set[str]] = {}
    for statement in trace.statements:
        ran.setdefault(f"{statement.database}@{statement.revision}", set()).update(_heads([statement.sql]))
    revision_issues = []
    for made in await _rendered(deployment, plan):
        revision = made.step.revision
        if made.refused or revision.qualified in cut_off:
            continue
        table = deployment.databases[revision.database].settings.version_table
        said = {head for head in _heads(made.statements) if table not in head}
        done = ran.get(revision.qualified, set())
        if said != done:
            revision_issues.append(
                RevisionIssue(revision.database, revision.id, _in_words(done - said, said - done))
            )
    return tuple(revision_issues)


def _heads(statements: Iterable[str]) -> Iterator[str]:
    for statement in statements:
        words = _WORD.findall(code(statement))[:_WORDS]
        if words and words[0].upper() not in _LOOKING:
            yield " ".join(words)


def _in_words(unsaid: set[str], unrun: set[str]) -> str:
    return "; ".join(
        f"{', '.join(sorted(heads))} … {what}"
        for heads, what in ((unsaid, "runs and is not rendered"), (unrun, "is rendered and does not run"))
        if heads
    )


async def _rendered(deployment: Deployment, plan: Plan) -> list[_Rendered]:
    from circle_migrate.migrate.alembic_adapter.context import VersionTable, one_at_a_time
    from circle_migrate.migrate.alembic_adapter.runner import Runner

    rendereds = []
    at = dict(plan.current)
    async with one_at_a_time():
        runners = {}
        for name in plan.databases:
            settings = deployment.databases[name].settings
            table = VersionTable(settings.version_table, settings.version_table_schema)
            runners[name] = Runner(deployment.forest.graphs[name], table, plan.steps(name))
        for number, step in _steps(plan):
            rendereds.append(_render(runners[step.database], number, step, at[step.database]))
            at[step.database] = step.heads_after(deployment.forest.graphs[step.database], at[step.database])
    return rendereds


def _steps(plan: Plan) -> Iterator[tuple[int, Step]]:
    for number, segment in enumerate(plan.segments, 1):
        yield from ((number, action) for action in segment.actions if isinstance(action, Step))


def _render(runner: Runner, number: int, step: Step, at: tuple[str, ...]) -> _Rendered:
    output = _Parts()
    try:
        runner.render(Segment((step,), transactional=True), at, output)
    except Refused as error:
        return _Rendered(number, step, refused=error.message)
    return _Rendered(number, step, tuple(output.parts))


class _Parts(StringIO):
    """Text in the parts in which it was written: Alembic writes statement by statement."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        """Keep a part."""
        self.parts.append(text)
        return super().write(text)
