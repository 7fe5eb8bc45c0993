"""Render a plan to SQL with Alembic, which may differ from what runs, if there is no scratch database."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import chain

from circle_migrate.core.errors import Refused
from circle_migrate.core.redaction import redact
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.sql_text import split_statements, without_comments_and_literals
from circle_migrate.revision_graph.plan import Plan, Step
from circle_migrate.safety.trace.record import Trace, TracedStatement

_WORD = re.compile(r'(?:"(?:[^"]|"")*"|[\w$.])+')
_COMPARED_WORDS = 3
"""Words that identify a statement; later ones depend on whether values are parameters."""

_READING = frozenset({"SELECT", "SHOW", "VALUES", "EXPLAIN", "TABLE", "SET", "RESET", "BEGIN", "COMMIT"})
"""First words of statements that change no data or schema."""


@dataclass(frozen=True, slots=True)
class _RenderedStep:
    """A rendered step; `refused` is the reason if it cannot be rendered."""

    segment: int
    step: Step
    statements: tuple[str, ...]
    refused: str


async def render(deployment: Deployment, plan: Plan, major: int) -> Trace:
    """Render each step of a plan as one statement for servers of a major version, without running it.

    Steps that cannot be rendered are `untraced`. Raises `TreeError` for a file that cannot be loaded.
    """
    steps = await _render_steps(deployment, plan)
    statements = []
    for step in steps:
        revision, sql = step.step.revision, redact("".join(step.statements))
        if not step.refused:
            place = revision.path, revision.line
            statements.append(TracedStatement(revision.database, step.segment, revision.id, sql, *place))
    refused = {step.step.revision.qualified: step.refused for step in steps if step.refused}
    notes = tuple(f"{name}: {reason}" for name, reason in refused.items())
    return Trace(tuple(statements), tuple(refused), major, notes)


async def compare_rendered(deployment: Deployment, plan: Plan, trace: Trace) -> dict[str, str]:
    """Describe by revision how statements differ when rendered, if they all ran. Raises `TreeError`."""
    ran: dict[str, set[str]] = {}
    for statement in trace.statements:
        ran.setdefault(statement.qualified, set()).update(_starts([statement.sql]))
    differences, incomplete = {}, trace.incomplete
    for step in await _render_steps(deployment, plan):
        revision = step.step.revision
        if step.refused or revision.qualified in incomplete:
            continue
        rendered, executed = set(_starts(step.statements)), ran.get(revision.qualified, set())
        problems = (
            ("runs and is not rendered", executed - rendered),
            ("is rendered and does not run", rendered - executed),
        )
        texts = [f"{', '.join(sorted(starts))} … {problem}" for problem, starts in problems if starts]
        if texts:
            differences[revision.qualified] = "; ".join(texts)
    return differences


def _starts(statements: Iterable[str]) -> Iterator[str]:
    """Yield the first words of each statement that changes data or schema."""
    for statement in chain.from_iterable(map(split_statements, statements)):
        words = _WORD.findall(without_comments_and_literals(statement))[:_COMPARED_WORDS]
        if words and words[0].upper() not in _READING:
            yield " ".join(words)


async def _render_steps(deployment: Deployment, plan: Plan) -> list[_RenderedStep]:
    from circle_migrate.migrate.alembic_adapter.context import VersionTable, proxies_lock
    from circle_migrate.migrate.alembic_adapter.runner import Runner

    rendered = []
    current = dict(plan.current)
    with proxies_lock:
        runners = {}
        for name in plan.databases:
            settings = deployment.databases[name].settings
            table = VersionTable(settings.version_table, settings.version_table_schema)
            runners[name] = Runner(deployment.combined_graph.graphs[name], table, plan.steps(name), settings)
        for number, segment in enumerate(plan.segments, 1):
            for step in segment.actions:
                if isinstance(step, Step):
                    name, output, refused = step.database, _StatementBuffer(), ""
                    try:
                        runners[name].render_function(step, current[name], output)
                    except Refused as error:
                        refused = error.message
                    rendered.append(_RenderedStep(number, step, tuple(output.parts), refused))
                graph = deployment.combined_graph.graphs[step.database]
                current[step.database] = step.heads_after(graph, current[step.database])
    return rendered


class _StatementBuffer(StringIO):
    """A buffer that keeps the parts in which it is written: Alembic writes statement by statement."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        """Write a part."""
        self.parts.append(text)
        return super().write(text)
