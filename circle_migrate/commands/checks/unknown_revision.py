"""Databases at revisions that no tree has: whether they are ahead, and which release knows the way back."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.commands.checks.database_facts import DatabaseFacts
from circle_migrate.core.errors import ExitCode, UnknownRevision
from circle_migrate.core.findings import Finding, Severity
from circle_migrate.migrate.journal_entry import AppliedBy
from circle_migrate.revision_graph.graph import Graph


def is_ahead(graph: Graph, facts: DatabaseFacts) -> bool:
    """Whether the database is at a revision we lack and its journal says that our heads were applied."""
    heads = graph.effective_heads
    return bool(facts.unknown_revisions and heads) and all(head in facts.applied for head in heads)


def unknown_revision_findings(
    graph: Graph, facts: DatabaseFacts, error: UnknownRevision
) -> Iterator[Finding]:
    """A finding for each current revision that the tree lacks; `error` is what planning would say of it."""
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
    where = f"{name} is ahead of this package, at {key}" if ahead else f"{name} is at {key}"
    return (
        f"{where}, which is in none of the trees: circle-migrate {applied.tool_version} applied it "
        f"at {applied.at:%F %T} UTC, by {applied.by}"
    )


def _remedy(name: str, key: str, applied: AppliedBy | None) -> str:
    lost = f"where it is lost for good: circle-migrate stamp {name}@REVISION --purge"
    if applied is None:
        return f"install the release that has it; no journal says which; {lost}"
    return (
        f"install the release that did, or a newer one; its text: circle-migrate log --source {key}; {lost}"
    )
