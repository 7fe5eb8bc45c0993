"""The routes about health, for an application to include."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Request, Response

from circle_migrate.api.health import Check, State
from circle_migrate.api.problem import PROBLEMS, ProblemRoute, described_json, json_response
from circle_migrate.api.service import Service
from circle_migrate.core.envelope import dump


def _object(**properties: object) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


_TEXTS = {"type": "array", "items": {"type": "string"}}
_TIME = {"type": "string", "format": "date-time"}
_STATE = {"enum": list(State)}
_READY = _object(status={"enum": ["ready", "not-ready"]}, reasons=_TEXTS, checked_at=_TIME)
_HEALTH = _object(status=_STATE, reasons=_TEXTS, checked_at=_TIME)
_HEALTH["properties"]["dependencies"] = {
    "description": "Only with the token.",
    "type": "object",
    "additionalProperties": _object(
        kind={"enum": ["database", "check"]},
        status=_STATE,
        reasons=_TEXTS,
        latency_ms={"type": ["number", "null"]},
        checked_at=_TIME,
        message={"type": ["string", "null"]},
    ),
}


def _responses(schema: dict[str, Any], failed: str = "") -> dict[int | str, dict[str, Any]]:
    """Return the responses of a route for OpenAPI; 503 has the schema of 200."""
    described = {200: described_json("Well.", schema), **PROBLEMS}
    return described | {503: described_json(failed, schema)} if failed else described


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

    @router.get("/health/live", responses=_responses(_object(status={"const": "ok"})))
    async def live() -> Response:
        """Answer while the process does; no database is asked."""
        return json_response(dump({"status": "ok"}))

    @router.get("/health/ready", responses=_responses(_READY, "Not ready; `reasons` says why."))
    async def ready() -> Response:
        """Answer 200 where every database is at, or ahead of, the revisions of this release."""
        health = await service.readiness()
        content = {**health.to_dict(details=False), "status": "not-ready" if health.reasons else "ready"}
        return json_response(dump(content), 503 if health.reasons else 200)

    @router.get("/health", responses=_responses(_HEALTH, "A database does not work."))
    async def health(request: Request) -> Response:
        """Answer with the worst state, 503 for `failed`; with the token, also with each dependency."""
        details, health = await asyncio.gather(service.sees_details(request), service.health())
        content = health.to_dict(details=details)
        return json_response(dump(content), 503 if health.state is State.FAILED else 200)

    return router
