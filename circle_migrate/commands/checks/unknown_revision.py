"""Findings for databases at revisions that no revision file has."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.commands.checks.database_facts import DatabaseFacts
from circle_migrate.core.errors import ExitCode, UnknownRevision
from circle_migrate.core.findings import Finding, Severity
from circle_migrate.migrate.journal_entry import AppliedBy
from circle_migrate.revision_graph.graph import Graph


def is_ahead(graph: Graph, facts: DatabaseFacts) -> bool:
    """Return whether the database is at an unknown revision and our heads are applied in its journal."""
    heads = graph.effective_heads
    return bool(facts.unknown_revisions and heads) and all(head in facts.applied for head in heads)


def unknown_revision_findings(
    graph: Graph, facts: DatabaseFacts, error: UnknownRevision
) -> Iterator[Finding]:
    """Yield a finding for each unknown revision; `error` is the one of planning."""
    name = facts.state.database
    for key, applied in facts.unknown_revisions.items():
        yield Finding(
            rule=UnknownRevision.code,
            severity=Severity.ERROR,
            message=_message(name, key, applied, ahead=is_ahead(graph, facts)) if applied else error.message,
            status=ExitCode.AHEAD,
            database=name,
            revision=key,
            remedy=_remedy(name, key, applied),
        )


def _message(name: str, key: str, applied: AppliedBy, *, ahead: bool) -> str:
    position = f"{name} is ahead of this package, at {key}" if ahead else f"{name} is at revision {key}"
    return (
        f"{position}, which no revision file has: circle-migrate {applied.tool_version} applied it "
        f"at {applied.at:%F %T} UTC, by {applied.by}"
    )


def _remedy(name: str, key: str, applied: AppliedBy | None) -> str:
    purge = f"if the revision is lost: circle-migrate stamp {name}@REVISION --purge"
    if applied is None:
        return f"install the release that has the revision, which no journal names; {purge}"
    return f"install that release or a newer one; to see its text: circle-migrate log --source {key}; {purge}"
