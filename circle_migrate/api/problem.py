"""Errors as problem details of RFC 9457, and the id of each request."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Coroutine, MutableMapping
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from circle_migrate.api.snapshot import LOG
from circle_migrate.core.envelope import dump
from circle_migrate.core.errors import ExitCode, MigrateError

RETRY_AFTER = 5
"""Seconds after which a client may ask again."""

_STATUS = {
    **dict.fromkeys((ExitCode.UNREACHABLE, ExitCode.LOCKED, ExitCode.USAGE), HTTPStatus.SERVICE_UNAVAILABLE),
    ExitCode.BUG: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status for each exit status of an error; 409 for any other."""

PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "about:blank, or urn:circle-migrate:error:CODE."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "description": "The header X-Request-ID, and a key of the log."},
        "error": {"type": "object", "description": "The error as on the command line."},
    },
}
"""The schema of problem details."""

_PROBLEMS = {"application/problem+json": {"schema": PROBLEM}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request, the token or the databases are wrong.", "content": _PROBLEMS},
    "5XX": {"description": "The databases or the settings do not work.", "content": _PROBLEMS},
}
"""The responses of a route that has problems, for OpenAPI."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = "circle_migrate.request_id"


def request_id(scope: MutableMapping[str, Any]) -> str:
    """Return the id of a request: that of its header X-Request-ID if that is harmless, else a new one."""
    if _KEY not in scope:
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        scope[_KEY] = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return str(scope[_KEY])


def json_response(text: str, status: int = 200, media_type: str = "application/json") -> Response:
    """Return a response that no cache keeps; with 503 it says when to ask again."""
    headers = {"Cache-Control": "no-store"}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER)
    return Response(text, status, headers, media_type)


def described_json(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a response that has JSON, for OpenAPI."""
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def problem(scope: MutableMapping[str, Any], status: int, detail: str, **members: object) -> Response:
    """Return a problem; its title is the phrase of the status, unless `members` has one with a `type`."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id(scope),
    }
    return json_response(dump(content | members), status, "application/problem+json")


def problem_of(scope: MutableMapping[str, Any], error: Exception) -> Response:
    """Return the problem for an error; of an unexpected one only the log has the text."""
    if isinstance(error, MigrateError):
        status = _STATUS.get(error.status, HTTPStatus.CONFLICT)
        kind = {"type": f"urn:circle-migrate:error:{error.code}", "title": error.code.replace("-", " ")}
        return problem(scope, status, error.message, **kind, error=error.to_dict())
    if isinstance(error, HTTPException):
        response = problem(scope, error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response
    if isinstance(error, RequestValidationError):
        errors = [{"loc": item["loc"], "msg": item["msg"]} for item in error.errors()]
        return problem(scope, 422, "the request is not valid", errors=errors)
    LOG.error("unexpected error", exc_info=error, extra={"request_id": request_id(scope)})
    return problem(scope, 500, "unexpected error; the log has it under the request id")


class ProblemRoute(APIRoute):
    """A route that answers with problem details in any application, and with the id of the request."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer HEAD, which monitors send, as GET; the server leaves the content out."""
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await super().handle(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handle(request)
            except Exception as error:  # noqa: BLE001 - the boundary of a request
                response = problem_of(request.scope, error)
            response.headers["X-Request-ID"] = request_id(request.scope)
            return response

        return answer
