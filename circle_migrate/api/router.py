"""The routes about health, for an application to include."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import APIRouter, Request, Response

from circle_migrate.api.health import Check
from circle_migrate.api.problem import ProblemRoute, json_response
from circle_migrate.api.service import Service
from circle_migrate.core.envelope import dump


def migration_router(checks: Mapping[str, Check] | None = None) -> APIRouter:
    """Return the routes `/health/live`, `/health/ready` and `/health` for an application to include.

    The settings are those of the command line, without its flags. `checks` are coroutine functions by name
    that raise if another dependency, such as Redis, does not work; each has 1.5 seconds.
    """
    return health_router(Service(checks=checks))


def health_router(service: Service) -> APIRouter:
    """Return the routes about the health of a service."""

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        yield
        await service.close()

    router = APIRouter(route_class=ProblemRoute, tags=["health"], lifespan=lifespan)

    @router.get("/health/live")
    async def live() -> Response:
        """Answer while the process does; no database is asked."""
        return json_response(dump({"status": "ok"}))

    @router.get("/health/ready", responses={503: {"description": "Not ready; `reasons` says why."}})
    async def ready() -> Response:
        """Answer 200 where every database is at, or ahead of, the revisions of this release."""
        health = await service.readiness()
        content = {**health.to_dict(details=False), "status": "not-ready" if health.reasons else "ready"}
        return json_response(dump(content), 503 if health.reasons else 200)

    @router.get("/health", responses={503: {"description": "A database does not work."}})
    async def health(request: Request) -> Response:
        """Answer with the worst state of all dependencies; with the token, with each of them."""
        details, health = await asyncio.gather(service.sees_details(request), service.health())
        content = health.to_dict(details=details)
        return json_response(dump(content), 503 if health.reasons else 200)

    return router
