"""`GET /`: the state of the databases as a page that needs no script."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from fastapi import APIRouter, Depends, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from circle_migrate import __version__
from circle_migrate.api.problem import ProblemRoute
from circle_migrate.api.results import Answer, Results
from circle_migrate.api.service import Service
from circle_migrate.api.snapshot import Taken
from circle_migrate.commands.status import StatusResult
from circle_migrate.core.envelope import CONTROL, in_environment
from circle_migrate.core.errors import MigrateError
from circle_migrate.core.findings import Severity
from circle_migrate.core.redaction import redact

_PATIENCE = 2.0
"""Seconds that the page waits for the runs and the revisions; it is shown without them."""
_SHOWN_RUNS = 20
_WIDTH = 100
"""The width of the longest bar of the chart, in its own units."""


def _visible(value: Any) -> Any:
    """Return a text without secrets and control characters; the template escapes it."""
    return re.sub(CONTROL, "\ufffd", redact(value)) if isinstance(value, str) else value


@cache
def _environment() -> Environment:
    loader = PackageLoader("circle_migrate.api.page", "")
    environment = Environment(
        loader=loader, autoescape=True, finalize=_visible, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["advice"] = in_environment
    return environment


def page_router(service: Service, results: Results) -> APIRouter:
    """Return the routes of the page, which needs the token, and of its style sheet."""
    router = APIRouter(route_class=ProblemRoute, include_in_schema=False)

    @router.get("/", dependencies=[Depends(service.require_details)])
    async def page() -> Response:
        health, runs, revisions = await asyncio.gather(
            service.readiness(),
            results.snapshots["/runs"].get(_PATIENCE),
            results.snapshots["/migrations"].get(_PATIENCE),
        )
        taken = service.state.latest()
        state = taken.value if taken else None
        has_pending = isinstance(state, StatusResult) and any(item.pending for item in state.databases)
        html = (
            _environment()
            .get_template("status.html")
            .render(
                version=__version__,
                health=health,
                databases=state.databases if isinstance(state, StatusResult) else (),
                error=state if isinstance(state, MigrateError) else None,
                findings=_findings(taken),
                verdicts=_verdicts(results.snapshots["/safety"].latest() if has_pending else None),
                runs=_runs(runs),
                unread=[
                    item.value for item in (runs, revisions) if item and isinstance(item.value, MigrateError)
                ],
                revisions=_revisions(revisions),
            )
        )
        return Response(html, headers={"Cache-Control": "no-store"}, media_type="text/html")

    @router.get("/status.css")
    async def style() -> Response:
        text = files("circle_migrate.api.page").joinpath("status.css").read_text(encoding="utf-8")
        return Response(text, headers={"Cache-Control": "max-age=3600"}, media_type="text/css")

    return router


def _findings(taken: Taken[StatusResult] | None) -> list[Any]:
    """Return the findings except notes and pending revisions, which stand beside their database."""
    if taken is None or isinstance(taken.value, MigrateError):
        return []
    findings = taken.value.findings
    return [item for item in findings if item.severity is not Severity.NOTE and item.rule != "pending"]


def _verdicts(taken: Taken[Answer] | None) -> dict[str, list[Any]] | str:
    """Return the findings of the safety check by revision, or why there are none."""
    if taken is None:
        return "is being checked; reload the page to see the result"
    if isinstance(taken.value, MigrateError):
        return f"could not be checked: {taken.value.message}"
    by_revision: dict[str, list[Any]] = {}
    for finding in taken.value.result.findings:  # type: ignore[attr-defined]
        by_revision.setdefault(f"{finding.database}@{finding.revision}", []).append(finding)
    return by_revision


def _runs(taken: Taken[Answer] | None) -> list[dict[str, Any]]:
    """Return the latest runs, each with its databases, its seconds and the width of its bar."""
    if taken is None or isinstance(taken.value, MigrateError):
        return []
    rows: list[dict[str, Any]] = []
    for _, group in groupby(taken.value.result.runs, lambda run: run.run):  # type: ignore[attr-defined]
        runs = list(group)
        ends = [run.ended_at for run in runs if run.ended_at]
        seconds = (max(ends) - runs[0].started_at).total_seconds() if len(ends) == len(runs) else None
        outcome = next((run.outcome for run in runs if run.outcome != "done"), "done")
        steps = sum(len(run.steps) for run in runs)
        databases = " and ".join(run.database for run in runs)
        rows.append(
            {"run": runs[0], "databases": databases, "outcome": outcome, "seconds": seconds, "steps": steps}
        )
    rows = rows[:_SHOWN_RUNS]
    longest = max((row["seconds"] or 0 for row in rows), default=0) or 1
    return [row | {"width": round((row["seconds"] or 0) / longest * _WIDTH, 1)} for row in rows]


def _revisions(taken: Taken[Answer] | None) -> dict[str, Any]:
    if taken is None or isinstance(taken.value, MigrateError):
        return {}
    return dict(taken.value.result.revisions)  # type: ignore[attr-defined]
