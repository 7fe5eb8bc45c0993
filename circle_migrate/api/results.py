"""The results of reading commands over HTTP, each in the envelope that `--format json` writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Response

from circle_migrate.api.problem import PROBLEMS, RETRY_AFTER, ProblemRoute, described_json, json_response
from circle_migrate.api.service import Service
from circle_migrate.api.snapshot import Snapshot
from circle_migrate.commands.json_schema.command_schema import schema
from circle_migrate.core.envelope import dump, of_result
from circle_migrate.core.errors import MigrateError
from circle_migrate.core.result import Result
from circle_migrate.postgres.deployment import Deployment

if TYPE_CHECKING:
    from circle_migrate.commands.history import RevisionList

_RUNS = 100
_QUICK, _SLOW = (3.0, 20.0), (60.0, 600.0)
"""Seconds for which a result is kept, and in which it is read: one query, or work on scratch databases."""

_PATIENCE = 25.0
"""Seconds that a request waits for a result; it is read on, and a later request gets it."""

Action = Callable[[Deployment], Coroutine[Any, Any, Result]]


class Answer(NamedTuple):
    """A result, and its envelope as JSON, which is made beside the event loop of the requests."""

    result: Result
    text: str


async def _history(deployment: Deployment) -> RevisionList:
    from circle_migrate.commands.history import history
    from circle_migrate.migrate.guards import verify_identity

    return history(deployment, None, verify_identity(deployment, await deployment.states()))


async def _plan(deployment: Deployment) -> Result:
    from circle_migrate.commands.plan import plan
    from circle_migrate.revision_graph.plan import Direction

    return await plan(deployment, ["head"], Direction.UP)


async def _log(deployment: Deployment, run: str | None = None) -> Result:
    from circle_migrate.commands.log import log

    return await log(deployment, _RUNS, run=run)


async def _diff(deployment: Deployment) -> Result:
    from circle_migrate.commands.diff import diff

    return await diff(deployment)


async def _safety_check(deployment: Deployment) -> Result:
    from circle_migrate.commands.safety_check import safety_check

    return await safety_check(deployment)


async def _graph(deployment: Deployment) -> Result:
    from circle_migrate.commands.graph.format import DiagramFormat
    from circle_migrate.commands.graph.graph import revision_trees, write_diagram

    diagram = revision_trees(deployment.combined_graph, await _history(deployment))
    return write_diagram(diagram, DiagramFormat.MERMAID)


class Route(NamedTuple):
    """A route: the command whose result it has, its action, its times and its description."""

    command: str
    action: Action
    times: tuple[float, float]
    text: str


ROUTES = {
    "/migrations": Route("history", _history, _QUICK, "All revisions, newest first; the current are marked."),
    "/plan": Route("plan", _plan, _SLOW, "What an upgrade to the heads would do."),
    "/runs": Route("log", _log, _QUICK, f"The latest {_RUNS} runs with their steps, newest first."),
    "/drift": Route("diff", _diff, _SLOW, "The differences of the databases from their revisions."),
    "/safety": Route("safety-check", _safety_check, _SLOW, "The dangers of the pending revisions."),
    "/graph": Route("graph", _graph, _QUICK, "The trees of revisions as a diagram in Mermaid."),
}
"""The routes by their paths."""


class Results:
    """The latest result of each route; one reading at a time for each."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._turn = asyncio.Semaphore(1)
        self.snapshots = {path: self._snapshot(route.action, *route.times) for path, route in ROUTES.items()}

    def _snapshot(self, action: Action, max_age: float, limit: float) -> Snapshot[Answer]:
        return Snapshot(partial(self._read, action, limit), max_age)

    async def _read(self, action: Action, limit: float) -> Answer:
        deployment = self._service.deployment()
        async with asyncio.timeout(limit):
            result = await action(deployment)
        return Answer(result, dump(of_result(result)))

    async def answer(self, path: str) -> Answer:
        """Return the result of a route. Raises its error, or an `HTTPException` while it is read on."""
        return await _answer(self.snapshots[path])

    async def run(self, run: UUID) -> Answer:
        """Return the result of `log` with one run. Raises an `HTTPException` where there is none."""
        async with self._turn:  # these are not shared, so their number must not be that of the requests
            answer = await _answer(self._snapshot(partial(_log, run=str(run)), *_QUICK))
        if not answer.result.to_dict()["runs"]:
            raise HTTPException(404, "no journal has this run")
        return answer

    async def close(self) -> None:
        """End what is being read."""
        for snapshot in self.snapshots.values():
            await snapshot.close()


async def _answer(snapshot: Snapshot[Answer]) -> Answer:
    taken = await snapshot.get(_PATIENCE)
    if taken is None:
        raise HTTPException(503, "the result is not ready yet", {"Retry-After": str(RETRY_AFTER)})
    if isinstance(taken.value, MigrateError):
        raise taken.value
    return taken.value


def results_router(service: Service, results: Results) -> APIRouter:
    """Return the routes that have results of commands; each needs the token."""
    router = APIRouter(
        route_class=ProblemRoute, tags=["results"], dependencies=[Depends(service.require_details)]
    )

    def add(path: str, route: Route) -> None:
        async def read() -> Response:
            return json_response((await results.answer(path)).text)

        router.add_api_route(
            path, read, name=path[1:], summary=route.text, responses=described(route.command)
        )

    for path, route in ROUTES.items():
        add(path, route)

    @router.get("/runs/{run}", summary="One run on all databases.", responses=described("log"))
    async def one_run(run: UUID) -> Response:
        return json_response((await results.run(run)).text)

    return router


def described(command: str) -> dict[int | str, dict[str, Any]]:
    """Return the responses of a route for OpenAPI: the JSON Schema of the command, and problems."""
    return {200: described_json("The result.", schema(command)), **PROBLEMS}
