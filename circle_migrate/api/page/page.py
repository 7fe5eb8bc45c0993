"""`GET /`: the state of the databases as a page, which a script keeps current and which needs none."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from fastapi import APIRouter, Depends, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from circle_migrate import __version__
from circle_migrate.api.page.tree import MOST_ROWS, Tree, tree
from circle_migrate.api.page.verdicts import SafetyChecks
from circle_migrate.api.problem import ProblemRoute
from circle_migrate.api.results import Answer, Results
from circle_migrate.api.service import Service
from circle_migrate.api.snapshot import Taken
from circle_migrate.commands.status import DatabaseStatus, StatusResult
from circle_migrate.core.counted import counted
from circle_migrate.core.envelope import CONTROL, in_environment
from circle_migrate.core.errors import MigrateError
from circle_migrate.core.findings import Finding, Severity
from circle_migrate.core.redaction import redact
from circle_migrate.migrate.active_run import ActiveRun

_PATIENCE = 2.0
"""Seconds that the page waits for the runs and the revisions; it is shown without them."""
_SHOWN_RUNS = 20

_FILES = {"status.css": "text/css", "status.js": "text/javascript"}


def _visible(value: Any) -> Any:
    """Return a text without secrets and control characters; the template escapes it."""
    return re.sub(CONTROL, "\ufffd", redact(value)) if isinstance(value, str) else value


def _seconds(value: float) -> str:
    """Return a duration for people."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02} s" if minutes else f"{value:.1f} s"


@cache
def _environment() -> Environment:
    loader = PackageLoader("circle_migrate.api.page", "")
    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"advice": in_environment, "counted": counted, "seconds": _seconds}
    return environment


def page_router(service: Service, results: Results) -> APIRouter:
    """Return the routes of the page, which needs the token, and of its style sheet and script."""
    router = APIRouter(route_class=ProblemRoute, include_in_schema=False)
    safety = SafetyChecks(results.snapshots["/safety"])

    @router.get("/", dependencies=[Depends(service.require_details)])
    async def page() -> Response:
        health, runs, revisions = await asyncio.gather(
            service.readiness(),
            results.snapshots["/runs"].get(_PATIENCE),
            results.snapshots["/migrations"].get(_PATIENCE),
        )
        taken = service.state.latest()
        state = taken.value if taken else None
        databases = state.databases if isinstance(state, StatusResult) else ()
        html = (
            _environment()
            .get_template("status.html")
            .render(
                version=__version__,
                health=health,
                dependencies={item.name: item for item in health.dependencies},
                databases=databases,
                error=state if isinstance(state, MigrateError) else None,
                most=MOST_ROWS,
                active=_active(databases, health.at),
                findings=_findings(taken),
                changed={item.database for item in _findings(taken) if item.rule == "schema-changed"},
                verdicts=safety.verdicts(databases),
                runs=_runs(runs, {item.running.run for item in databases if item.running}),
                unread=[
                    item.value for item in (runs, revisions) if item and isinstance(item.value, MigrateError)
                ],
                trees=_trees(revisions, databases),
            )
        )
        return Response(html, headers={"Cache-Control": "no-store"}, media_type="text/html")

    def add(name: str, media_type: str) -> None:
        async def read() -> Response:
            text = files("circle_migrate.api.page").joinpath(name).read_text(encoding="utf-8")
            return Response(text, headers={"Cache-Control": "max-age=3600"}, media_type=media_type)

        router.add_api_route(f"/{name}", read, name=name)

    for name, media_type in _FILES.items():
        add(name, media_type)
    return router


def _active(databases: Sequence[DatabaseStatus], at: datetime) -> list[dict[str, Any]]:
    """Return the runs in progress, each by the database of its last step, with its age in seconds."""
    by_run: dict[str, list[tuple[str, ActiveRun]]] = {}
    for item in databases:
        if item.running:
            by_run.setdefault(item.running.run, []).append((item.database, item.running))
    active = []
    for runs in by_run.values():
        database, run = max(runs, key=lambda item: item[1].step or 0)
        blockers = (f"pid {pid}" if pid else "a prepared transaction" for pid in run.blocked_by)
        active.append(
            {
                "run": run,
                "database": database,
                "databases": " and ".join(name for name, _ in runs),
                "seconds": max((at - run.started_at).total_seconds(), 0),
                "blocked_by": ", ".join(blockers),
            }
        )
    return active


def _findings(taken: Taken[StatusResult] | None) -> list[Finding]:
    """Return the findings except notes and pending revisions, which stand beside their database."""
    if taken is None or isinstance(taken.value, MigrateError):
        return []
    findings = taken.value.findings
    return [item for item in findings if item.severity is not Severity.NOTE and item.rule != "pending"]


def _runs(taken: Taken[Answer] | None, active: set[str]) -> list[dict[str, Any]]:
    """Return the latest runs, each with its databases, its seconds and the width of its bar in percent."""
    if taken is None or isinstance(taken.value, MigrateError):
        return []
    rows: list[dict[str, Any]] = []
    for key, group in groupby(taken.value.result.runs, lambda run: run.run):  # type: ignore[attr-defined]
        runs = list(group)
        ends = [run.ended_at for run in runs if run.ended_at]
        seconds = (max(ends) - runs[0].started_at).total_seconds() if len(ends) == len(runs) else None
        outcome = next((run.outcome for run in runs if run.outcome != "done"), "done")
        rows.append(
            {
                "run": runs[0],
                "databases": " and ".join(run.database for run in reversed(runs)),
                "outcome": "in progress" if key in active else outcome,
                "seconds": seconds,
                "steps": sum(len(run.steps) for run in runs),
            }
        )
    rows = rows[:_SHOWN_RUNS]
    longest = max((row["seconds"] or 0 for row in rows), default=0) or 1
    return [row | {"width": max(round((row["seconds"] or 0) / longest * 100, 1), 0.5)} for row in rows]


def _trees(taken: Taken[Answer] | None, databases: Sequence[DatabaseStatus]) -> list[Tree]:
    if taken is None or isinstance(taken.value, MigrateError):
        return []
    pending = {item.database: {revision.id for revision in item.pending} for item in databases}
    revisions: Mapping[str, Any] = taken.value.result.revisions  # type: ignore[attr-defined]
    return [tree(name, entries, pending.get(name, ())) for name, entries in revisions.items()]
