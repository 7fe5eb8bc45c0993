"""A plan as the statements that Alembic renders for it, where there is nothing to run it on.

What is rendered is not always what runs: a revision that reads the database has no such text, and others say
less in it. It does for an opinion of low confidence, and for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import TYPE_CHECKING

from circle_migrate.core.plan import Plan, Segment, Step
from circle_migrate.core.traces import Trace, Traced
from circle_migrate.errors import Refused
from circle_migrate.redaction import redact

if TYPE_CHECKING:
    from circle_migrate.deployment import Deployment
    from circle_migrate.tree import Runner


async def rendered(deployment: Deployment, plan: Plan, major: int) -> Trace:
    """The text of each step as one statement, for servers of a major version; no step is run.

    Those that have none are `untraced`. Raises `TreeError` for a file that cannot be loaded.
    """
    from circle_migrate.tree import Runner, VersionTable, one_at_a_time

    statements: list[Traced] = []
    silent: list[str] = []
    notes: list[str] = []
    at = dict(plan.current)
    async with one_at_a_time():
        runners = {}
        for name in plan.databases:
            settings = deployment.databases[name].settings
            table = VersionTable(settings.version_table, settings.version_table_schema)
            runners[name] = Runner(deployment.forest.graphs[name], table, plan.steps(name))
        for number, step in _steps(plan):
            name, revision = step.database, step.revision
            try:
                text, after = _text(runners[name], step, at[name])
            except Refused as error:
                silent.append(revision.qualified)
                notes.append(f"{revision.qualified}: {error.message}")
                after = step.moved(deployment.forest.graphs[name], at[name])
            else:
                made = Traced(name, number, revision.id, redact(text), revision.path, revision.line)
                statements.append(made)
            at[name] = after
    return Trace(tuple(statements), tuple(silent), major, tuple(notes))


def _steps(plan: Plan) -> Iterator[tuple[int, Step]]:
    for number, segment in enumerate(plan.segments, 1):
        yield from ((number, action) for action in segment.actions if isinstance(action, Step))


def _text(runner: Runner, step: Step, at: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    output = StringIO()
    after = runner.render(Segment((step,), transactional=True), at, output)
    return output.getvalue(), after
