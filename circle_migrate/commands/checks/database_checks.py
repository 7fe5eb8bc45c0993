"""Checks of the state of the databases."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from circle_migrate.commands.checks.database_facts import (
    DatabaseFacts,
    finding_without_state,
    refusals,
    revision_finding,
)
from circle_migrate.core.errors import ExitCode, HalfApplied, InDoubt, MigrateError
from circle_migrate.core.findings import Check, Finding, Severity, from_error
from circle_migrate.migrate.changed_schema import remedy_of_change
from circle_migrate.migrate.contradictions import edited_revision_error
from circle_migrate.migrate.guards import describe_not_ours, ensure_distinct, ensure_own_tables
from circle_migrate.migrate.half_done import half_done_error
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import literal
from circle_migrate.revision_graph.graph import Graph

FactsOrError = Mapping[str, DatabaseFacts | MigrateError]


def single_head(deployment: Deployment, severity: Severity = Severity.ERROR) -> Check:
    """Return a check with a finding for each tree with several heads, and one for a missing tree."""
    findings = list(_error_findings(lambda _: deployment.ensure_revisions(), {}))
    for graph in deployment.graphs.values():
        try:
            graph.head()
        except MigrateError as error:
            error.location = error.location or graph[graph.heads[-1]].location
            findings.append(from_error(error, severity))
    return Check("single-head", "each tree has one head", tuple(findings))


STATE_CHECKS = {
    "reachable": "the databases can be read",
    "recognised": "the databases are the configured ones, at known revisions",
    "settled": "no run was interrupted",
    "requirements": "requirements of applied revisions are applied",
    "unedited": "the files of applied revisions are unchanged",
    "untouched": "the schema is unchanged since the last run",
    "indexes": "no index is INVALID",
    "pending": "no revision is pending",
}
"""Titles of the checks by name, in the order in which they run."""

_UPGRADE = "circle-migrate upgrade"

_INTERRUPTED = (InDoubt.code, HalfApplied.code)
"""The refusals that belong to the check `settled`."""


def state_checks(
    deployment: Deployment, facts_or_error: FactsOrError, *, pending: Severity | None
) -> tuple[Check, ...]:
    """Return the checks of the databases' state; without a severity for `pending`, not that check."""
    readable = [facts for facts in facts_or_error.values() if isinstance(facts, DatabaseFacts)]
    unread = [name for name, error in facts_or_error.items() if isinstance(error, MigrateError)]
    states = {facts.state.database: facts.state for facts in readable}
    distinct = list(_error_findings(ensure_distinct, states))
    all_refusals = [*distinct, *(finding for facts in readable for finding in refusals(deployment, facts))]
    ensure = partial(ensure_own_tables, reading=True)
    all_refusals += [f for name in states for f in _error_findings(ensure, {name: states[name]})]
    names = sorted({finding.database for finding in all_refusals if finding.database})
    ready = [facts for facts in readable if not distinct and facts.state.database not in names]
    unread_reason = f"{' and '.join(unread)} cannot be read" if unread else None
    unplanned_reason = f"an upgrade of {' and '.join(names)} is refused" if names else unread_reason
    interruptions = [finding for finding in all_refusals if finding.rule in _INTERRUPTED]
    checks = {
        "reachable": map(from_error, (e for e in facts_or_error.values() if isinstance(e, MigrateError))),
        "recognised": (
            *(finding for finding in all_refusals if finding not in interruptions),
            *_replaced_revisions(deployment, ready),
        ),
        "settled": (*interruptions, *_interrupted_runs(deployment, readable)),
        "requirements": _unmet_requirements(deployment, ready),
        "unedited": _edited_revisions(readable),
        "untouched": _changed_schemas(readable),
        "indexes": _invalid_indexes(readable),
    }
    if pending is not None:
        checks["pending"] = _pending_revisions(deployment, ready, pending)
    reasons = {"reachable": None, "requirements": unplanned_reason, "pending": unplanned_reason}
    return tuple(
        Check(name, STATE_CHECKS[name], tuple(findings), reasons.get(name, unread_reason))
        for name, findings in checks.items()
    )


def _replaced_revisions(deployment: Deployment, all_facts: Sequence[DatabaseFacts]) -> Iterator[Finding]:
    for facts in all_facts:
        graph = deployment.combined_graph.graphs[facts.state.database]
        for key in facts.state.current:
            if (squashed := graph.squashes.current(key)) != key:
                message = f"{key} counts as {squashed}, which replaces it; the next run records {squashed}"
                yield revision_finding(
                    "replaced-revision", Severity.NOTE, ExitCode.DONE, graph[squashed], message, _UPGRADE
                )


def _interrupted_runs(deployment: Deployment, all_facts: Sequence[DatabaseFacts]) -> Iterator[Finding]:
    for facts in all_facts:
        name, run = facts.state.database, facts.last_run
        for step in facts.half_done:
            if not step.is_downgrade:
                error = half_done_error(deployment.combined_graph.graphs[name], facts.state, step)
                yield finding_without_state(error, Severity.WARNING)
        for gid in facts.state.not_ours:
            message = describe_not_ours(name, gid)
            remedy = f"if no program needs it, as its owner or a superuser: ROLLBACK PREPARED {literal(gid)};"
            yield Finding("not-ours", Severity.WARNING, message, database=name, subject=gid, remedy=remedy)
        if run and run.outcome == "started" and facts.holder is None and not facts.state.in_doubt:
            message = f"{name}: the last run ({run.command}, {run.run[:8]}) never ended"
            remedy = "circle-migrate recover, then the same command again"
            yield Finding("interrupted", Severity.WARNING, message, database=name, remedy=remedy)


def _unmet_requirements(deployment: Deployment, all_facts: Sequence[DatabaseFacts]) -> Iterator[Finding]:
    graph = deployment.combined_graph
    if not graph.required_by:
        return
    applied: dict[str, set[str]] = {}
    for facts in all_facts:
        name = facts.state.database
        applied[name] = {f"{name}@{key}" for key in graph.graphs[name].ancestors(facts.state.current)}
    for keys in applied.values():
        for need in sorted(graph.requirements(keys)):
            if need in applied.get(need.partition("@")[0], {need}):
                continue
            revision = graph.revision(next(key for key in graph.required_by[need] if key in keys))
            message = f"revision {revision.id} is applied, but {need}, which it requires, is not"
            finding = revision_finding(
                "unmet-requirement", Severity.WARNING, ExitCode.PENDING, revision, message, _UPGRADE
            )
            yield replace(finding, subject=need)


def _edited_revisions(all_facts: Sequence[DatabaseFacts]) -> Iterator[Finding]:
    for facts in all_facts:
        for revision, diff in facts.edited:
            yield replace(
                finding_without_state(edited_revision_error(revision, diff)),
                revision=revision.id,
                remedy="restore the file and write a new revision; "
                "to go on with the edited file: circle-migrate upgrade --allow-edited",
            )


def _changed_schemas(all_facts: Sequence[DatabaseFacts]) -> Iterator[Finding]:
    for facts in all_facts:
        if facts.changed:
            name, remedy = facts.state.database, remedy_of_change(facts.state.database)
            message = f"{name}: the schema was changed by hand, which is neither settled nor accepted"
            yield Finding("schema-changed", Severity.WARNING, message, database=name, remedy=remedy)


def _invalid_indexes(all_facts: Sequence[DatabaseFacts]) -> Iterator[Finding]:
    for facts in all_facts:
        for index in facts.invalid_indexes:
            name, index_name = facts.state.database, index.rpartition(" on ")[0]
            message = f"{name}: the index {index} is INVALID"
            remedy = f"REINDEX INDEX CONCURRENTLY {index_name}; or run its revision again"
            yield Finding(
                "invalid-index", Severity.WARNING, message, database=name, subject=index, remedy=remedy
            )


def pending_revisions(graph: Graph, facts: DatabaseFacts) -> tuple[str, ...]:
    """Return the revisions that an upgrade would apply; none at an unknown revision."""
    is_unknown = facts.unknown_revisions or graph.squashes.unfinished(facts.state.current)
    return () if is_unknown else graph.sorted(graph.pending(facts.state.current))


def _pending_revisions(
    deployment: Deployment, all_facts: Sequence[DatabaseFacts], severity: Severity
) -> Iterator[Finding]:
    for facts in all_facts:
        graph = deployment.combined_graph.graphs[facts.state.database]
        for key in pending_revisions(graph, facts):
            message = f"{key} is pending: {graph[key].message}"
            yield revision_finding("pending", severity, ExitCode.PENDING, graph[key], message, _UPGRADE)


def _error_findings(
    ensure: Callable[[Mapping[str, State]], None], states: Mapping[str, State]
) -> Iterator[Finding]:
    """Yield the error that `ensure` raises as a finding."""
    try:
        ensure(states)
    except MigrateError as error:
        yield finding_without_state(error)
