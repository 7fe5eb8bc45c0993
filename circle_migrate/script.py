"""A plan as SQL that psql runs to the same end."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from circle_migrate import __version__
from circle_migrate.core import targets
from circle_migrate.core.plan import Direction, Plan, Segment
from circle_migrate.core.result import Script
from circle_migrate.deployment import Deployment
from circle_migrate.errors import UsageError
from circle_migrate.tree import Runner, VersionTable, one_at_a_time


async def script(deployment: Deployment, texts: Sequence[str], direction: Direction) -> Script:
    """The SQL for the targets, from the databases' real current revisions, or for `FROM:TO` without a server.

    Raises `UsageError` for a bad span, `Refused` for a revision that reads the database while it runs.
    """
    spans = [text for text in texts if ":" in text]
    if spans:
        plan = _plan_offline(deployment, texts, direction)
    else:
        names = deployment.within_reach(direction)
        current = deployment.recognise(await deployment.states(names))
        if direction is Direction.UP:
            plan = deployment.plan_upgrade(current, texts, deployment.grouping)
        else:
            plan = deployment.plan_downgrade(current, texts, deployment.grouping, cascade=True)
    async with one_at_a_time():
        text = render(deployment, plan)
    return Script("upgrade" if direction is Direction.UP else "downgrade", text)


def _plan_offline(deployment: Deployment, texts: Sequence[str], direction: Direction) -> Plan:
    lows, highs = [], []
    for text in texts:
        low, colon, high = text.rpartition(":")
        if not colon or not low or not high:
            raise UsageError(f"{text!r} is not a span", hint="write FROM:TO, for example base:head")
        database = targets.parse(low, deployment.databases).database
        if database and targets.parse(high, deployment.databases).database is None:
            high = f"{database}@{high}"
        lows.append(low)
        highs.append(high)
    graphs = deployment.graphs
    current = _of_the_others(deployment, direction)
    for name, target in targets.assign(lows, graphs).items():
        current[name] = graphs[name].tips(targets.claimed(graphs[name], (), target))
    if direction is Direction.UP:
        return deployment.plan_upgrade(current, highs, deployment.grouping)
    return deployment.plan_downgrade(current, highs, deployment.grouping)


def _of_the_others(deployment: Deployment, direction: Direction) -> dict[str, tuple[str, ...]]:
    """What databases without a span are taken to be at: where nothing in them stands in the way."""
    if direction is Direction.UP:
        return {name: graph.real_heads for name, graph in deployment.forest.graphs.items()}
    return dict.fromkeys(deployment.databases, ())


def render(deployment: Deployment, plan: Plan) -> str:
    """The plan as a psql script; where it spans databases, it connects to each by a psql variable."""
    output = StringIO()
    output.write(_head(plan))
    runners = {}
    for name in plan.databases:
        settings = deployment.databases[name].settings
        table = VersionTable(settings.version_table, settings.version_table_schema)
        runners[name] = Runner(deployment.forest.graphs[name], table, plan.steps(name))
    at = dict(plan.current)
    connected = plan.databases[0] if len(plan.databases) == 1 else None
    for segment in plan.segments:
        for name, part in _by_database(segment):
            if name != connected:
                output.write(f"\\connect :{name}\n")
                connected = name
            output.write(f"SET search_path = {deployment.databases[name].settings.search_path};\n")
            output.write("BEGIN;\n\n" if segment.transactional else "\n")
            at[name] = runners[name].render(part, at[name], output)
            output.write("COMMIT;\n\n" if segment.transactional else "\n")
    return output.getvalue()


def _by_database(segment: Segment) -> list[tuple[str, Segment]]:
    """The segment's steps in runs of one database; a script cannot hold two transactions open."""
    runs: list[tuple[str, list[int]]] = []
    for index, action in enumerate(segment.actions):
        if not runs or runs[-1][0] != action.database:
            runs.append((action.database, []))
        runs[-1][1].append(index)
    return [
        (name, Segment(tuple(segment.actions[i] for i in indexes), segment.transactional))
        for name, indexes in runs
    ]


def _head(plan: Plan) -> str:
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
        lines.append(f"-- run: psql -X {variables} -f THIS_FILE postgres")
    return "\n".join(lines) + "\n\\set ON_ERROR_STOP on\n\n"
