"""`upgrade --sql` and `downgrade --sql`: write a plan as a script for psql."""

from collections.abc import Sequence
from io import StringIO
from itertools import groupby

from circle_migrate import __version__
from circle_migrate.migrate.alembic_adapter.context import VersionTable, proxies_lock
from circle_migrate.migrate.alembic_adapter.runner import Runner
from circle_migrate.migrate.contradictions import plan_in_agreement
from circle_migrate.migrate.planner import Planner, plan_offline
from circle_migrate.migrate.result import ScriptResult
from circle_migrate.postgres.bounded_read import milliseconds
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction, Plan, Segment


async def script(deployment: Deployment, texts: Sequence[str], direction: Direction) -> ScriptResult:
    """Return the SQL from the current revisions to the targets, or for `FROM:TO` without a server."""
    if any(":" in text for text in texts):
        plan = plan_offline(deployment, texts, direction)
    else:
        names = deployment.planned_databases(direction)
        states = await deployment.states(names)
        planner = Planner(deployment, texts, direction, cascade=True)
        plan = await plan_in_agreement(deployment, states, planner)
    with proxies_lock:
        text = render(deployment, plan)
    return ScriptResult("upgrade" if direction is Direction.UP else "downgrade", text)


def render(deployment: Deployment, plan: Plan) -> str:
    """Return the plan as a psql script, which connects to several databases by psql variables."""
    output = StringIO()
    output.write(_header(plan))
    runners = {}
    for name in plan.databases:
        settings = deployment.databases[name].settings
        table = VersionTable(settings.version_table, settings.version_table_schema)
        runners[name] = Runner(deployment.combined_graph.graphs[name], table, plan.steps(name), settings)
    current = dict(plan.current)
    connected_name = plan.databases[0] if len(plan.databases) == 1 else None
    for segment in plan.segments:
        # A script cannot hold two transactions open.
        for name, actions in groupby(segment.actions, key=lambda action: action.database):
            part = Segment(tuple(actions), segment.transactional)
            if name != connected_name:
                output.write(f"\\connect :{name}\n")
                connected_name = name
            path = deployment.databases[name].settings.effective_path
            output.write(f"SET search_path = {path};\nSET row_security = off;\n")
            if limit := deployment.settings.statement_timeout:
                output.write(f"SET statement_timeout = {milliseconds(limit)};\n")
            output.write("BEGIN;\n\n" if segment.transactional else "\n")
            current[name] = runners[name].render(part, current[name], output)
            output.write("COMMIT;\n\n" if segment.transactional else "\n")
    return output.getvalue()


def _header(plan: Plan) -> str:
    names = plan.databases
    lines = [f"-- circle-migrate {__version__}"]
    for name in names:
        low, high = (", ".join(heads) or "base" for heads in (plan.current[name], plan.after[name]))
        lines.append(f"-- {name}: {low} to {high}")
    if not names:
        lines.append("-- nothing to do")
    elif len(names) == 1:
        lines.append('-- run: psql -X -f THIS_FILE "postgresql://…"')
    else:
        variables = " ".join(f'-v {name}="postgresql://…"' for name in names)
        lines.append(f'-- run: psql -X {variables} -f THIS_FILE "postgresql://…"')
    return "\n".join(lines) + "\n\\set ON_ERROR_STOP on\n\n"
