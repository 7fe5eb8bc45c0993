"""Requests to the application of `serve`."""

from __future__ import annotations

from fastapi import FastAPI

from circle_migrate.api.server import create_app
from circle_migrate.api.service import load_deployment
from circle_migrate.config.load import load
from tests.api.asgi import Answer, request, running
from tests.servers import run


def app(**settings: str) -> FastAPI:
    """The application, with settings from the environment and these."""
    return create_app(load(settings), load_deployment)


def get(*paths: str, headers: dict[str, str] | None = None, **settings: str) -> list[Answer]:
    async def scenario() -> list[Answer]:
        async with running(app(**settings)) as application:
            return [await request(application, path, headers) for path in paths]

    return run(scenario())
