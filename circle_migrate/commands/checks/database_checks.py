"""Checks of what each database answers about its state, which `status` and `check` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from circle_migrate.commands.checks.database_facts import DatabaseFacts
from circle_migrate.commands.checks.unknown_revision import unknown_revision_findings
from circle_migrate.core.errors import ExitCode, MigrateError, UnknownRevision
from circle_migrate.core.findings import Check, Finding, Severity, from_error
from circle_migrate.migrate.edited_files import edited_revision_error
from circle_migrate.migrate.guards import ensure_not_in_doubt
from circle_migrate.migrate.identity import ensure_distinct, verify_identity
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.graph import Graph

DatabaseAnswers = Mapping[str, DatabaseFacts | MigrateError]


def several_heads(graphs: Iterable[Graph], severity: Severity = Severity.ERROR) -> Check:
    """Whether each tree has one head; a status only warns, as both heads may be meant to be targets."""
    findings = []
    for graph in graphs:
        try:
            graph.head()
        except MigrateError as error:
            error.location = error.location or graph[graph.heads[-1]].location
            findings.append(from_error(error, severity))
    return Check("single-head", "each tree has one head", tuple(findings))


STATE_CHECKS = {
    "reachable": "the databases can be read",
    "recognised": "they are the right ones, at known revisions",
    "settled": "no run was cut off",
    "requirements": "what applied revisions require of another database is applied",
    "unedited": "applied revisions are as they were",
    "untouched": "the schema is as the last run left it",
    "indexes": "no index is INVALID",
    "pending": "no revision is pending",
}
"""The questions about the databases' state, in the order in which they are asked, by name."""


def state_checks(
    deployment: Deployment, answers: DatabaseAnswers, *, pending: Severity | None
) -> tuple[Check, ...]:
    """One check per question about the databases' state; with `pending` None that question is not asked."""
    facts = [answer for answer in answers.values() if isinstance(answer, DatabaseFacts)]
    unread = [name for name, answer in answers.items() if isinstance(answer, MigrateError)]
    lost = [database_facts.state.database for database_facts in facts if database_facts.unknown_revisions]
    unknowable = _because(unread, "cannot be read")
    unplannable = _because(lost, "at a revision that its tree lacks", unknowable)
    checks = [
        _check("reachable", _unreadable(answers)),
        _check("recognised", _strange(deployment, facts), unknowable),
        _check("settled", _cut_off(facts), unknowable),
        _check("requirements", _unmet(deployment, facts), unplannable),
        _check("unedited", _edits(facts), unknowable),
        _check("untouched", _touched(facts), unknowable),
        _check("indexes", _invalid(facts), unknowable),
    ]
    if pending is not None:
        checks.append(_check("pending", _late(deployment, facts, pending), unplannable))
    return tuple(checks)


def _check(name: str, findings: Iterable[Finding], skipped: str | None = None) -> Check:
    return Check(name, STATE_CHECKS[name], tuple(findings), skipped)


def _because(names: list[str], what: str, otherwise: str | None = None) -> str | None:
    return f"{' and '.join(names)} {what}" if names else otherwise


def _unreadable(answers: DatabaseAnswers) -> Iterator[Finding]:
    for answer in answers.values():
        if isinstance(answer, MigrateError):
            yield from_error(answer)


def _strange(deployment: Deployment, facts: list[DatabaseFacts]) -> Iterator[Finding]:
    states = {database_facts.state.database: database_facts.state for database_facts in facts}
    yield from _raised([partial(ensure_distinct, states)])
    for database_facts in facts:
        name = database_facts.state.database
        try:
            verify_identity(deployment, {name: database_facts.state})
        except UnknownRevision as error:
            yield from unknown_revision_findings(deployment.forest.graphs[name], database_facts, error)
        except MigrateError as error:
            yield _looked_at(error)


def _cut_off(facts: list[DatabaseFacts]) -> Iterator[Finding]:
    for database_facts in facts:
        name, run = database_facts.state.database, database_facts.last_run
        yield from _raised([partial(ensure_not_in_doubt, {name: database_facts.state})])
        if (
            run is not None
            and run.outcome == "started"
            and database_facts.holder is None
            and not database_facts.state.in_doubt
        ):
            yield Finding(
                rule="interrupted",
                severity=Severity.WARNING,
                message=f"{name}: the last run ({run.command}, {run.run[:8]}) never ended",
                status=ExitCode.DONE,
                database=name,
                remedy="circle-migrate recover, then the same command again",
            )


def _unmet(deployment: Deployment, facts: list[DatabaseFacts]) -> Iterator[Finding]:
    forest = deployment.forest
    if not forest.required_by:
        return
    applied: dict[str, set[str]] = {}
    for database_facts in facts:
        name, graph = database_facts.state.database, forest.graphs[database_facts.state.database]
        if not database_facts.unknown_revisions:
            applied[name] = {f"{name}@{key}" for key in graph.ancestors(database_facts.state.current)}
    for name, keys in applied.items():
        for need in sorted(forest.requirements(keys)):
            if need in applied.get(need.partition("@")[0], {need}):
                continue
            revision = forest.revision(next(key for key in forest.required_by[need] if key in keys))
            yield Finding(
                rule="unmet-requirement",
                severity=Severity.WARNING,
                message=f"{name}: {revision.id} is applied and requires {need}, which is not",
                status=ExitCode.PENDING,
                database=name,
                revision=revision.id,
                subject=need,
                remedy="circle-migrate upgrade",
                file=revision.path,
                line=revision.line,
            )


def _edits(facts: list[DatabaseFacts]) -> Iterator[Finding]:
    for database_facts in facts:
        for revision, diff in database_facts.edited:
            yield replace(
                _looked_at(edited_revision_error(revision, diff)),
                revision=revision.id,
                remedy="restore the file and write a new revision; "
                "circle-migrate upgrade --allow-edited goes on as it is",
            )


def _touched(facts: list[DatabaseFacts]) -> Iterator[Finding]:
    for database_facts in facts:
        if database_facts.changed:
            name = database_facts.state.database
            yield Finding(
                rule="schema-changed",
                severity=Severity.WARNING,
                message=f"{name}: the schema has changed since the last run",
                status=ExitCode.DONE,
                database=name,
                remedy=f"circle-migrate diff --drift --database {name}",
            )


def _invalid(facts: list[DatabaseFacts]) -> Iterator[Finding]:
    for database_facts in facts:
        for index in database_facts.invalid_indexes:
            yield Finding(
                rule="invalid-index",
                severity=Severity.WARNING,
                message=f"{database_facts.state.database}: the index {index} is INVALID",
                status=ExitCode.DONE,
                database=database_facts.state.database,
                subject=index,
                remedy=f"REINDEX INDEX CONCURRENTLY {index.rpartition(' on ')[0]}; or run its revision again",
            )


def pending_revisions(graph: Graph, facts: DatabaseFacts) -> tuple[str, ...]:
    """What an upgrade would apply; nothing where it could not plan, at a revision that the tree lacks."""
    if facts.unknown_revisions:
        return ()
    return graph.sorted(graph.pending(facts.state.current))


def _late(deployment: Deployment, facts: list[DatabaseFacts], severity: Severity) -> Iterator[Finding]:
    for database_facts in facts:
        graph = deployment.forest.graphs[database_facts.state.database]
        for key in pending_revisions(graph, database_facts):
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
        except MigrateError as error:
            yield _looked_at(error)


def _looked_at(error: MigrateError) -> Finding:
    """The error as a finding, without saying that nothing was changed: looking never changes a thing."""
    error.state = None
    return from_error(error)
