"""The application of `serve`, and its server."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from circle_migrate import __version__
from circle_migrate.api.log import AccessLog, logging_json
from circle_migrate.api.metrics import CONTENT_TYPE, metrics_text
from circle_migrate.api.page.page import page_router
from circle_migrate.api.problem import PROBLEMS, ProblemRoute, problem, problem_of, request_id
from circle_migrate.api.results import Results, results_router
from circle_migrate.api.router import health_router
from circle_migrate.api.service import Service
from circle_migrate.api.snapshot import LOG
from circle_migrate.core.errors import SettingsError, UsageError
from circle_migrate.postgres.deployment import Deployment

if TYPE_CHECKING:
    from circle_migrate.config.settings import Settings

PREFIX = "/api/v1"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MAX_PORT = 65_535
_MAX_CONNECTIONS = 200
_MAX_HEAD = 16 << 10
"""Bytes of a request's line and headers."""
_HEAD_SECONDS = 10.0
"""Seconds in which a request's headers must have come."""
_END_SECONDS = 10
"""Seconds in which running requests may end."""


def ensure_safe(settings: Settings) -> None:
    """Raise `SettingsError` for settings with which strangers could see what they must not."""
    host, _ = _address(settings)
    if host not in _LOOPBACK and settings.api_token is None and not settings.api_behind_proxy:
        raise SettingsError(
            f"serve would answer everybody who reaches {settings.api_listen}",
            state="nothing was started",
            hint="set CIRCLE_MIGRATE_API_TOKEN (openssl rand -hex 32), or, where a proxy in front decides "
            "who sees it, add --behind-proxy",
        )
    if "*" in settings.api_cors and settings.api_cors_credentials:
        raise SettingsError(
            "api-cors has * and api-cors-credentials is true: the pages of any site could read the API",
            state="nothing was started",
            hint="name the origins in api-cors, such as https://a.example",
        )


def create_app(settings: Settings, open_deployment: Callable[[], Deployment]) -> FastAPI:
    """Return the application of `serve`; `app.state.service` is what it answers from."""
    service = Service(open_deployment, is_open=True)
    results = Results(service)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await results.close()

    app = _Application(
        title="circle-migrate",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/openapi.json" if settings.api_docs else None,
        docs_url="/docs" if settings.api_docs else None,
        redoc_url=None,
        redirect_slashes=False,  # the redirect would name the Host that the request names
    )
    app.state.service = service
    app.router.route_class = ProblemRoute
    app.include_router(health_router(service), prefix=PREFIX)
    app.include_router(results_router(service, results), prefix=PREFIX)
    app.include_router(page_router(service, results))
    access = [Depends(service.require_details)]
    app.add_api_route(
        "/metrics",
        partial(_metrics, service),
        dependencies=access,
        name="metrics",
        description="The metrics for Prometheus.",
        response_class=PlainTextResponse,
        responses=PROBLEMS,
    )
    app.add_exception_handler(HTTPException, _answer_error)
    if settings.api_cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api_cors,
            allow_credentials=settings.api_cors_credentials,
            allow_methods=["GET"],
            allow_headers=["Authorization", "X-Request-ID"],
            expose_headers=["X-Request-ID"],
        )
    # Without a token only pages of this machine are answered: a site can let its name lead to this machine.
    needs_local_host = settings.api_token is None and not settings.api_behind_proxy
    app.add_middleware(_Guard, needs_local_host=needs_local_host, docs=settings.api_docs)
    app.add_middleware(AccessLog)
    return app


async def _metrics(service: Service) -> Response:
    taken = await service.state.get(_HEAD_SECONDS)
    if taken is None:
        raise HTTPException(503, "the state is not known yet")
    return Response(metrics_text(taken.value, taken.at.timestamp()), headers={"Content-Type": CONTENT_TYPE})


async def _answer_error(request: Request, error: Exception) -> Response:
    return problem_of(request.scope, error)


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI; definitions of JSON Schemas are its components, as its tools expect them."""
        if self.openapi_schema is None:
            components: dict[str, Any] = {}

            def take_definitions(value: dict[str, Any]) -> dict[str, Any]:
                components.update(value.pop("$defs", {}))
                return value

            text = json.dumps(super().openapi()).replace('"#/$defs/', '"#/components/schemas/')
            self.openapi_schema = json.loads(text, object_hook=take_definitions)
            self.openapi_schema.setdefault("components", {}).setdefault("schemas", {}).update(components)
        return self.openapi_schema


class _Guard:
    """An application around another one that checks the Host and adds the headers of every response."""

    def __init__(self, app: Any, *, needs_local_host: bool, docs: bool) -> None:
        self._app, self._needs_local_host, self._docs = app, needs_local_host, docs

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        has_begun = False

        async def send_with_headers(message: Any) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                names = {name.lower() for name, _ in message["headers"]}
                headers = {**_HEADERS, "X-Request-ID": request_id(scope)}
                if self._docs and scope["path"] == "/docs":  # its scripts are another site's
                    del headers["Content-Security-Policy"]
                message["headers"] += [
                    (name.lower().encode(), value.encode())
                    for name, value in headers.items()
                    if name.lower().encode() not in names
                ]
            await send(message)

        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        answer = self._app
        if b"content-length" in headers and b"transfer-encoding" in headers:
            # RFC 9112, 6.1: a proxy in front may end it elsewhere, and take what follows for another request.
            answer = problem(scope, 400, "a request has one length")
            answer.headers["Connection"] = "close"
        elif self._needs_local_host and re.sub(r":\d+$", "", host) not in _LOOPBACK:
            text = "the Host is not this machine; set a token to use other names"
            answer = problem(scope, 421, text)
        try:
            await answer(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # it has not ended in the seconds after a signal
            if not has_begun:
                await problem(scope, 503, "the server has stopped")(scope, receive, send_with_headers)


class _Protocol(H11Protocol):
    """The protocol of uvicorn, which ends a connection whose request does not come in time."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def _wait_for_head(self) -> None:
        before = self.cycle
        self.loop.call_later(_HEAD_SECONDS, self._end_if_no_request, before)

    def _end_if_no_request(self, before: Any) -> None:
        if self.cycle is before and not self.transport.is_closing():
            self.transport.close()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, whose head may come slowly, too."""
        self._wait_for_head()  # first, as `super` may begin a request that has come already
        super().on_response_complete()


class _Server(uvicorn.Server):
    """A server whose signals are handled by `_run`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def serve(settings: Settings, open_deployment: Callable[[], Deployment], log: TextIO) -> None:
    """Answer requests until a signal ends it. Raises `UsageError` where the address cannot be used."""
    ensure_safe(settings)
    host, port = _address(settings)
    try:
        if port > _MAX_PORT:
            raise OSError(f"a port is at most {_MAX_PORT}")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host.strip("[]"), port), family=family)
    except OSError as error:
        raise UsageError(
            f"serve cannot listen on {settings.api_listen}",
            detail=str(error),
            hint="choose another address with --listen",
        ) from error
    with listener, logging_json(log):
        asyncio.run(_run(create_app(settings, open_deployment), listener, settings.api_drain))


async def _run(app: FastAPI, listener: socket.socket, drain: float) -> None:
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        h11_max_incomplete_event_size=_MAX_HEAD,
        timeout_graceful_shutdown=_END_SECONDS,
    )
    server, loop = _Server(config), asyncio.get_running_loop()

    def stop(delay: float) -> None:
        if app.state.service.is_stopping:  # the second signal
            config.timeout_graceful_shutdown = 0
            delay = 0
        app.state.service.is_stopping = True
        LOG.info("stopping: not ready any more, then no new connections")
        loop.call_later(delay, setattr, server, "should_exit", True)

    loop.add_signal_handler(signal.SIGTERM, stop, drain)
    loop.add_signal_handler(signal.SIGINT, stop, 0)
    host, port = listener.getsockname()[:2]
    LOG.info(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}")
    await server.serve([listener])


def _address(settings: Settings) -> tuple[str, int]:
    host, _, port = settings.api_listen.rpartition(":")
    return host, int(port)
