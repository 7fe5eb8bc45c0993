"""Wait: until both databases are where this package needs them, for init containers.

It only reads, and locks nothing.
"""

from __future__ import annotations

import asyncio
import time

from circle_migrate.commands.checks.database_facts import DatabaseFacts, read_all_facts
from circle_migrate.commands.checks.unknown_revision import is_ahead, unknown_revision_findings
from circle_migrate.core.errors import ExitCode, MigrateError, UnknownRevision
from circle_migrate.core.events import Event, Kind, Notify, discard
from circle_migrate.core.findings import Check, Finding, Report, Severity, from_error
from circle_migrate.migrate.identity import verify_identity
from circle_migrate.postgres.deployment import Deployment, folders

_PAUSE = (0.2, 3.0)
"""The first and the longest pause between two looks, in seconds."""


async def wait(
    deployment: Deployment, patience: float, *, compatible: bool = False, notify: Notify = discard
) -> Report:
    """Look until every selected database is at the heads of its tree, for `patience` seconds at most.

    With `compatible` a database that is ahead will do, where its journal says that our heads were applied.
    Never raises for a state that may still change; what holds at the end is in the report.
    """
    deadline = time.monotonic() + patience
    pause, told = _PAUSE[0], ""
    while True:
        findings = await _look(deployment, compatible=compatible)
        if not findings or time.monotonic() + pause > deadline:
            made = Check("heads", _title(compatible=compatible), tuple(findings))
            return Report("wait", (made,), folders=folders(deployment))
        text = "; ".join(finding.message for finding in findings)
        if text != told:
            for finding in findings:
                notify(Event(Kind.WAITING, finding.database or "", f"until it changes: {finding.message}"))
            told = text
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _PAUSE[1], max(deadline - time.monotonic(), 0.05))


def _title(*, compatible: bool) -> str:
    return "databases at or ahead of this package" if compatible else "databases at the heads of this package"


async def _look(deployment: Deployment, *, compatible: bool) -> list[Finding]:
    findings = []
    for facts in (await read_all_facts(deployment, deployment.selected)).values():
        error = (
            facts if isinstance(facts, MigrateError) else _not_there(deployment, facts, compatible=compatible)
        )
        if error is not None:
            findings.append(error if isinstance(error, Finding) else from_error(error))
    return findings


def _not_there(
    deployment: Deployment, facts: DatabaseFacts, *, compatible: bool
) -> Finding | MigrateError | None:
    state = facts.state
    graph = deployment.forest.graphs[state.database]
    try:
        verify_identity(deployment, {state.database: state})
    except UnknownRevision as error:
        return (
            None
            if compatible and is_ahead(graph, facts)
            else next(unknown_revision_findings(graph, facts, error))
        )
    except MigrateError as error:
        return error
    missing = graph.pending(state.current)
    if not missing:
        return None
    return Finding(
        rule="pending",
        severity=Severity.ERROR,
        message=f"{state.database} is {len(missing)} revision{'s' * (len(missing) > 1)} behind",
        status=ExitCode.PENDING,
        database=state.database,
        remedy="circle-migrate upgrade",
    )
