"""`wait`: wait until the databases are at the heads of this package, for init containers. Only reads."""

import asyncio
import time
from functools import partial

from circle_migrate.commands.checks.database_facts import DatabaseFacts, is_ahead, read_facts, refusals
from circle_migrate.core.counted import counted
from circle_migrate.core.errors import ExitCode, MigrateError, UnknownRevision
from circle_migrate.core.events import Event, EventKind, Notify, ignore_event
from circle_migrate.core.findings import Check, Finding, Report, Severity, from_error
from circle_migrate.postgres.deployment import Deployment, revision_folders

_MIN_PAUSE, _MAX_PAUSE = 0.2, 3.0
"""Seconds between two polls."""
_MIN_POLL_SECONDS = 1.0
"""Time limit of a poll in seconds where less time is left."""


async def wait(
    deployment: Deployment, patience: float, *, compatible: bool = False, notify: Notify = ignore_event
) -> Report:
    """Poll until every selected database is at the heads of its tree, for at most `patience` seconds.

    `compatible` also accepts a database at an unknown revision whose journal says that our heads are applied.
    The report has the findings of the last poll; no state of a database raises an error.
    """
    deployment.ensure_revisions()
    deadline = time.monotonic() + patience
    pause, last_text = _MIN_PAUSE, ""
    title = f"databases at {'or ahead of' if compatible else 'the heads of'} this package"
    while True:
        limit = max(deadline - time.monotonic(), _MIN_POLL_SECONDS)
        findings = await _poll(deployment, limit, compatible=compatible)
        remaining = deadline - time.monotonic()
        if not findings or remaining <= 0:
            check = Check("heads", title, tuple(findings))
            return Report("wait", (check,), folders=revision_folders(deployment))
        text = "; ".join(finding.message for finding in findings)
        if text != last_text:
            for finding in findings:
                reason = f"until it changes: {finding.message}"
                notify(Event(EventKind.WAITING, finding.database or "", reason))
            last_text = text
        await asyncio.sleep(min(pause, remaining))
        pause = min(pause * 1.5, _MAX_PAUSE)


async def _poll(deployment: Deployment, seconds: float, *, compatible: bool) -> list[Finding]:
    results = (await deployment.query_each(deployment.selected, partial(read_facts, limit=seconds))).values()
    findings = [_finding(deployment, facts, compatible=compatible) for facts in results]
    return [finding for finding in findings if finding is not None]


def _finding(
    deployment: Deployment, facts: DatabaseFacts | MigrateError, *, compatible: bool
) -> Finding | None:
    if isinstance(facts, MigrateError):
        return from_error(facts)
    state = facts.state
    graph = deployment.combined_graph.graphs[state.database]
    refusal = next(refusals(deployment, facts), None)
    if compatible and refusal and refusal.rule == UnknownRevision.code and is_ahead(graph, facts):
        return None
    missing = graph.pending(state.current) if refusal is None else ()
    if not missing:
        return refusal
    return Finding(
        rule="pending",
        severity=Severity.ERROR,
        message=f"{state.database} is {counted(len(missing), 'revision')} behind",
        status=ExitCode.PENDING,
        database=state.database,
        remedy="circle-migrate upgrade",
    )
