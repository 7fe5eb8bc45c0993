"""Status: both databases in one view, whatever state they are in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from circle_migrate.core.findings import Check, Finding, Severity, from_error
from circle_migrate.core.revisions import Graph
from circle_migrate.core.statuses import DatabaseStatus, Status
from circle_migrate.deployment import Deployment, refuse_same
from circle_migrate.edited import edited, refusal
from circle_migrate.errors import CircleError, ExitCode
from circle_migrate.facts import Facts, survey
from circle_migrate.guards import refuse_in_doubt
from circle_migrate.revision_folder import versions_folder

Answers = Mapping[str, Facts | CircleError]


async def status(deployment: Deployment, *, strict: bool = False) -> Status:
    """Everything there is to know about the selected databases without writing to them.

    Pending revisions are notes, or with `strict` errors, which decide the exit status. A database that
    cannot be read is part of the answer.
    """
    answers = await survey(deployment, deployment.selected)
    severity = Severity.ERROR if strict else Severity.NOTE
    checks = state_checks(deployment, answers, pending=severity)
    databases = tuple(_database(deployment, name, answer) for name, answer in answers.items())
    return Status("status", checks, databases, folders=folders(deployment))


def folders(deployment: Deployment) -> dict[str, str]:
    """The folder of each tree, for report formats that want a place for every finding."""
    selected = {name: deployment.databases[name].settings.revisions for name in deployment.selected}
    return {name: str(versions_folder(folder)) for name, folder in selected.items()}


def _database(deployment: Deployment, name: str, answer: Facts | CircleError) -> DatabaseStatus:
    graph = deployment.forest.graphs[name]
    if isinstance(answer, CircleError):
        return DatabaseStatus(name, heads=graph.heads, error=answer)
    state, pending = answer.state, _pending(graph, answer)
    return DatabaseStatus(
        name,
        address=answer.address,
        server=state.server_version,
        dbname=state.name,
        role=state.role,
        access="standby" if state.standby else "read-only" if state.read_only else "writable",
        current=state.current,
        heads=graph.heads,
        pending=tuple(graph[key] for key in pending),
        needs=tuple(need for key in pending for need in graph[key].requires),
        holder=str(answer.holder) if answer.holder else None,
        last_run=answer.last_run,
    )


def state_checks(deployment: Deployment, answers: Answers, *, pending: Severity | None) -> tuple[Check, ...]:
    """One check per question about the databases' state; with `pending` None that question is not asked."""
    facts = [answer for answer in answers.values() if isinstance(answer, Facts)]
    unread = [name for name, answer in answers.items() if isinstance(answer, CircleError)]
    why = f"{' and '.join(unread)} cannot be read" if unread else None
    cut_off = tuple(finding for each in facts for finding in _cut_off(each))
    known = "they are the right ones, at known revisions"
    checks = [
        Check("reachable", "the databases can be read", tuple(_unreadable(answers))),
        Check("recognised", known, tuple(_strange(deployment, facts)), why),
        Check("settled", "no run was cut off", cut_off, why),
        Check("unedited", "applied revisions are as they were", tuple(_edits(deployment, facts)), why),
        Check("indexes", "no index is INVALID", tuple(_invalid(facts)), why),
    ]
    if pending is not None:
        late = (finding for each in facts for finding in _late(deployment, each, pending))
        checks.append(Check("pending", "no revision is pending", tuple(late), why))
    return tuple(checks)


def _unreadable(answers: Answers) -> Iterator[Finding]:
    for answer in answers.values():
        if isinstance(answer, CircleError):
            yield from_error(answer)


def _strange(deployment: Deployment, facts: list[Facts]) -> Iterator[Finding]:
    states = {each.state.database: each.state for each in facts}
    questions: list[Callable[[], object]] = [partial(refuse_same, states)]
    questions += [partial(deployment.recognise, {name: state}) for name, state in states.items()]
    yield from _raised(questions)


def _cut_off(facts: Facts) -> Iterator[Finding]:
    name, run = facts.state.database, facts.last_run
    yield from _raised([partial(refuse_in_doubt, {name: facts.state})])
    if run is not None and run.outcome == "started" and facts.holder is None and not facts.state.in_doubt:
        yield Finding(
            rule="interrupted",
            severity=Severity.WARNING,
            message=f"{name}: the last run ({run.command}, {run.run[:8]}) never ended",
            status=ExitCode.DONE,
            database=name,
            remedy="circle-migrate recover, then the same command again",
        )


def _edits(deployment: Deployment, facts: list[Facts]) -> Iterator[Finding]:
    for each in facts:
        name = each.state.database
        graph = deployment.forest.graphs[name]
        for revision, diff in edited(graph, each.state.current, each.applied_files):
            yield from_error(refusal(revision, diff))


def _invalid(facts: list[Facts]) -> Iterator[Finding]:
    for each in facts:
        for index in each.invalid_indexes:
            yield Finding(
                rule="invalid-index",
                severity=Severity.WARNING,
                message=f"{each.state.database}: the index {index} is INVALID",
                status=ExitCode.DONE,
                database=each.state.database,
                subject=index,
                remedy="REINDEX INDEX CONCURRENTLY, or run the revision that builds it again",
            )


def _pending(graph: Graph, facts: Facts) -> tuple[str, ...]:
    applied = graph.ancestors(key for key in facts.state.current if key in graph)
    return graph.sorted(graph.ancestors(graph.real_heads) - applied)


def _late(deployment: Deployment, facts: Facts, severity: Severity) -> Iterator[Finding]:
    graph = deployment.forest.graphs[facts.state.database]
    if any(key not in graph for key in facts.state.current):
        return
    for key in _pending(graph, facts):
        yield Finding(
            rule="pending",
            severity=severity,
            message=f"{graph.database}: {key} is pending: {graph[key].message}",
            status=ExitCode.PENDING,
            database=graph.database,
            revision=key,
            remedy="circle-migrate upgrade",
            file=graph[key].path,
            line=graph[key].line,
        )


def _raised(questions: Iterable[Callable[[], object]]) -> Iterator[Finding]:
    """A finding for every question that raises."""
    for question in questions:
        try:
            question()
        except CircleError as error:
            yield from_error(error)
