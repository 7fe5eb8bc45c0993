"""What the routes answer from: the snapshots, the token, and whether the process is stopping."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import threading
import time
from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBearer

from circle_migrate.api.health import Check, Checks, Dependency, Health, health_of
from circle_migrate.api.snapshot import Snapshot
from circle_migrate.commands.status import StatusResult, status
from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.deployment import Deployment

_MAX_AGE, _LIMIT = 3.0, 1.9
"""Seconds for which the state is kept and in which it is read: no answer is older than their sum, 5."""

_DATABASE_LIMIT = 1.5
_BEARER = HTTPBearer(auto_error=False)  # what OpenAPI says of the token; `sees_details` reads it
_KEEP_SECONDS = 60.0
"""Seconds for which settings and revision files are kept while all databases can be read with them."""
_PATIENCE = 2.0
"""Seconds that a request waits for the first state, or one that is new enough."""


def load_deployment() -> Deployment:
    """Return the databases by the settings of this process. Raises `SettingsError`."""
    from circle_migrate.config.load import load
    from circle_migrate.safety.hazards.hazard import HAZARDS

    return Deployment(load(hazard_ids=lambda: HAZARDS))


class Service:
    """The state behind all routes of one application.

    `open_deployment` reads settings and files anew after an error and every minute, so that changes are seen.
    With `is_open` nobody needs a token unless one is set; otherwise nobody sees details without one.
    """

    def __init__(
        self,
        open_deployment: Callable[[], Deployment] = load_deployment,
        checks: Mapping[str, Check] | None = None,
        *,
        is_open: bool = False,
    ) -> None:
        self._open_deployment, self._is_open = open_deployment, is_open
        self.is_stopping = False
        self._token: str | None = None
        self._knows_token = self._has_started = False
        self._lock = threading.Lock()
        self._deployment: tuple[Deployment, float] | None = None
        self.state: Snapshot[StatusResult] = Snapshot(self._read_state, _MAX_AGE)
        run_checks = Checks(checks or {}, _DATABASE_LIMIT).run
        self._checks: Snapshot[tuple[Dependency, ...]] = Snapshot(run_checks, _MAX_AGE, in_thread=False)

    def deployment(self) -> Deployment:
        """Return the databases with their revisions read. Raises the errors of settings and files."""
        with self._lock:
            if self._deployment is None or time.monotonic() > self._deployment[1]:
                deployment = self._open_deployment()
                # A token that is removed stays valid: without one, everybody would see details.
                self._token = deployment.settings.api_token or self._token
                self._knows_token = True
                _ = deployment.combined_graph
                self._deployment = deployment, time.monotonic() + _KEEP_SECONDS
            return self._deployment[0]

    def forget_deployment(self) -> None:
        """Let the next reading begin with the settings."""
        self._deployment = None

    async def _read_state(self) -> StatusResult:
        deployment = self.deployment()  # without a limit: a large tree takes seconds, the first time
        async with asyncio.timeout(_LIMIT):
            result = await status(deployment, strict=True, limit=_DATABASE_LIMIT)
        if any(database.error for database in result.databases):
            self.forget_deployment()
        return result

    async def readiness(self) -> Health:
        """Return the health of the databases alone."""
        taken = await self.state.get(_PATIENCE)
        self._has_started |= taken is not None
        return health_of(taken, is_stopping=self.is_stopping, has_started=self._has_started)

    async def health(self) -> Health:
        """Return the health of the databases and of all registered checks."""
        health, checks = await asyncio.gather(self.readiness(), self._checks.get(_PATIENCE))
        if checks is None or isinstance(checks.value, MigrateError):
            return health
        return health._replace(dependencies=(*health.dependencies, *checks.value))

    async def sees_details(self, request: Request) -> bool:
        """Return whether the request has the token, as a bearer or as the password of a browser."""
        if not self._knows_token:
            await self.state.get(_PATIENCE)  # it reads the settings
        if self._token is None:
            return self._is_open and self._knows_token
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.encode(), self._token.encode())

    async def require_details(self, request: Request, _: Annotated[object, Depends(_BEARER)]) -> None:
        """Raise an `HTTPException` without the token."""
        if not await self.sees_details(request):
            challenge = "Basic" if "text/html" in request.headers.get("accept", "") else "Bearer"
            headers = {"WWW-Authenticate": f'{challenge} realm="circle-migrate"'}
            raise HTTPException(401, "the token of the setting api-token is needed", headers)

    async def close(self) -> None:
        """End the refreshes."""
        await self.state.close()
