"""The revisions that a squashed one replaces: found in the graph, or refused."""

from collections.abc import Iterator, Sequence

from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph import target as targets
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision


def revisions_to_squash(deployment: Deployment, text: str) -> tuple[Revision, ...]:
    """Return the revisions of a range `FROM:TO`, both included, in their order.

    Raises `UsageError` for a text that is no range of one database, `Refused` for revisions that cannot be
    replaced by one.
    """
    start, colon, end = text.partition(":")
    if not (start and colon and end):
        raise UsageError(f"{text!r} is not a range", hint="write FROM:TO with two ids, for example base:head")
    database = targets.parse(start, deployment.databases).database
    if database and targets.parse(end, deployment.databases).database is None:
        end = f"{database}@{end}"
    assigned = targets.assign([end], deployment.graphs)
    if len(assigned) != 1:
        raise UsageError(f"{end} is a revision of several databases", hint="give one with --database")
    ((name, target),) = assigned.items()
    graph = deployment.graphs[name]
    line = _line(graph, _key(graph, target), start.removeprefix(f"{name}@"))
    for revision, message, hint in _problems(deployment.combined_graph, graph, line):
        raise Refused(f"{name}: {message}", database=name, location=revision.location, hint=hint)
    return line


def _key(graph: Graph, target: targets.Target) -> str:
    key = graph.head(target.label) if target.symbol in ("head", "heads") else None
    if key is None and target.symbol not in ("", "base", "head", "heads"):
        key = graph.find(target.symbol)
    if key is None or target.steps:
        raise UsageError(
            f"{target.text} is not a revision of {graph.database}", hint="write FROM:TO with ids"
        )
    return key


def _line(graph: Graph, end: str, start: str) -> tuple[Revision, ...]:
    """Return the revisions from `start` to `end`, going down from the end."""
    first = None if start == "base" else graph.find(start)
    line = [graph[end]]
    while line[-1].id != first and line[-1].down_revisions:
        if len(line[-1].down_revisions) > 1:
            raise Refused(
                f"{graph.database}: {line[-1].id} is a merge of {' and '.join(line[-1].down_revisions)}",
                database=graph.database,
                location=line[-1].location,
                hint=f"squash the revisions after it, or those of one branch before it: {first or 'FROM'}:TO",
            )
        line.append(graph[line[-1].down_revisions[0]])
    is_outside = first not in (None, line[-1].id)
    squashed = graph.squashes.squashed_by.get(first or "") if is_outside else end
    if squashed in graph.squashes.revisions and (is_outside or len(line) < 2):
        replaced = ", ".join(graph[squashed].replaces)
        raise Refused(
            f"{graph.database}: {squashed} already replaces {replaced}",
            database=graph.database,
            location=graph[squashed].location,
            hint=f"to replace it, too, begin at {squashed}, or before {graph[squashed].replaces[0]}",
        )
    if is_outside:
        raise UsageError(
            f"{end} does not come after {first}",
            hint="write FROM:TO, the older revision before the newer one",
        )
    if len(line) < 2:
        raise UsageError(f"{start}:{end} is one revision", hint="name two or more to replace by one")
    return tuple(reversed(line))


_AROUND = "end the range before it, or begin after it"
_Problem = tuple[Revision, str, str]


def _problems(combined: CombinedGraph, graph: Graph, line: Sequence[Revision]) -> Iterator[_Problem]:
    """Yield a revision, why it cannot be in the range, and what to type instead."""
    name, keys = graph.database, [revision.id for revision in line]
    if len(line[0].down_revisions) > 1:
        yield line[0], f"{keys[0]} is a merge", "begin the range after it"
    inside = {*keys, *(key for key in graph.squashes.squashed_by if graph.squashes.squashed_by[key] in keys)}
    for revision in line:
        key = revision.id
        if squashed := graph.squashes.squashed_by.get(key):
            yield revision, f"{squashed} already replaces {key}", f"name {squashed} instead"
        if revision.labels:
            yield revision, f"{key} has the branch label {', '.join(revision.labels)}", _AROUND
        if revision.depends_on:
            yield revision, f"{key} depends on {', '.join(revision.depends_on)}", _AROUND
        for other in combined.required_by.get(f"{name}@{key}", ()):
            reason = f"{other} requires {key}, and would wait for the whole range"
            yield combined.revision(other), reason, _AROUND
    for other, dependencies in graph.dependencies.items():
        if other not in keys and (inner := inside.intersection(dependencies)):
            yield graph[other], f"{other} depends on {min(inner)}", _AROUND
    for revision in graph.revisions.values():
        if revision.id not in inside and (inner := {*keys[:-1]}.intersection(revision.down_revisions)):
            hint = f"end the range at {min(inner)}, or begin after the branches are merged"
            yield revision, f"{min(inner)} is followed by {revision.id}, too", hint
