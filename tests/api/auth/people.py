"""An application with sign-in on a test's databases, its clients, and what it sends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI

from circle_migrate.api import AccessTokens, Message, auth_router
from tests.api.asgi import Answer, request, running
from tests.deployments import environment
from tests.servers import Databases

KEY, OLD_KEY = "k" * 32, "o" * 32
EMAIL, PASSWORD = "anna@example.org", "correct horse battery"
PERSON = {"email": EMAIL, "password": PASSWORD, "first_name": "Anna", "last_name": "Berg"}
PREFIX = "/auth"


def tokens(**options: Any) -> AccessTokens:
    """Access tokens of two keys."""
    keys = {"new": KEY, "old": OLD_KEY}
    return AccessTokens(keys, **{"issuer": "https://id.example", "audience": "circle", **options})


@dataclass
class People:
    """Clients of the application; `sent` has its messages."""

    app: FastAPI
    tokens: AccessTokens
    sent: list[Message] = field(default_factory=list)

    async def post(self, path: str, body: object = None, bearer: str | None = None) -> Answer:
        """Send a request, with JSON unless the body is bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        return await request(self.app, f"{PREFIX}{path}", headers, method="POST", body=raw)

    async def register(self, **changes: object) -> Answer:
        """Register the person, or somebody else."""
        return await self.post("/register", {**PERSON, **changes})

    async def sign_in(self, email: str = EMAIL, password: str = PASSWORD) -> Answer:
        """Sign in."""
        return await self.post("/token", {"email": email, "password": password})

    async def refresh(self, token: str) -> Answer:
        """Exchange a refresh token."""
        return await self.post("/token/refresh", {"refresh_token": token})

    async def session(self) -> Mapping[str, Any]:
        """Register, and return the tokens of a new session."""
        assert (await self.register()).status == 202
        answer = await self.sign_in()
        assert answer.status == 200, answer.text
        session: Mapping[str, Any] = answer.json
        return session


def use(monkeypatch: pytest.MonkeyPatch, databases: Databases) -> None:
    """Let the settings of this process name the databases."""
    for name, url in environment(databases).items():
        monkeypatch.setenv(name, url)


@asynccontextmanager
async def people(**options: Any) -> AsyncIterator[People]:
    """Run an application with sign-in; bcrypt is as cheap as it can be."""
    access, sent = tokens(), []

    async def send(message: Message) -> None:
        sent.append(message)

    app = FastAPI()
    router = auth_router(access, options.pop("send", send), **{"bcrypt_rounds": 4, **options})
    app.include_router(router, prefix=PREFIX)
    async with running(app):
        yield People(app, access, sent)
