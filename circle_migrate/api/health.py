"""Readiness and health, made from the result of `status` and from registered checks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from circle_migrate.api.snapshot import Taken
from circle_migrate.commands.status import StatusResult
from circle_migrate.core.errors import ExitCode, MigrateError, UnknownRevision, text_of
from circle_migrate.core.findings import Finding, Severity

Check = Callable[[], Awaitable[object]]
"""A check of another dependency, such as the ping of a client of Redis; it raises what is wrong."""

STARTING, STOPPING = "starting", "stopping"
_REASONS = {
    ExitCode.PENDING: "pending",
    ExitCode.UNREACHABLE: "unreachable",
    ExitCode.IN_DOUBT: "in-doubt",
    ExitCode.AHEAD: "unknown-revision",
    ExitCode.USAGE: "settings",
    ExitCode.BUG: "error",
}
"""The reason for each exit status of a finding; `refused` for any other."""

_WORKING = {_REASONS[ExitCode.PENDING], STOPPING}
"""Reasons for which nothing is ready, though all works: what is pending waits for its deployment."""

_DECISIVE = ("single-head", "reachable", "recognised", "settled", "pending")
"""The checks of `status` that decide whether a database is ready; the others only degrade it."""


class State(StrEnum):
    """The state of a dependency, or of all; the best one first."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


class Dependency(NamedTuple):
    """A dependency: its state, the reasons for that, and how long the look at it took, in seconds."""

    name: str
    kind: str
    state: State
    reasons: tuple[str, ...]
    seconds: float | None
    at: datetime
    message: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the dependency as JSON."""
        latency = None if self.seconds is None else round(self.seconds * 1000, 1)
        return {
            "kind": self.kind,
            "status": self.state,
            "reasons": self.reasons,
            "latency_ms": latency,
            "checked_at": self.at.isoformat(timespec="milliseconds"),
            "message": self.message,
        }


class Health(NamedTuple):
    """The health: reasons for which the databases are not ready, and all dependencies with their states."""

    at: datetime
    reasons: tuple[str, ...]
    dependencies: tuple[Dependency, ...] = ()

    @property
    def state(self) -> State:
        """The worst state."""
        states = {_state(self.reasons), *(dependency.state for dependency in self.dependencies)}
        return max(states, key=list(State).index)

    def to_dict(self, *, details: bool) -> dict[str, Any]:
        """Return the health as JSON; dependencies only with `details`."""
        health: dict[str, Any] = {
            "status": self.state,
            "reasons": self.reasons,
            "checked_at": self.at.isoformat(timespec="milliseconds"),
        }
        if details:
            health["dependencies"] = {item.name: item.to_dict() for item in self.dependencies}
        return health


def health_of(taken: Taken[StatusResult] | None, *, is_stopping: bool, has_started: bool) -> Health:
    """Return the health by the snapshot, None if there is none that is new enough."""
    if taken is None:
        return Health(datetime.now(UTC), (_REASONS[ExitCode.UNREACHABLE] if has_started else STARTING,))
    stopping = (STOPPING,) if is_stopping else ()
    result = taken.value
    if isinstance(result, MigrateError):
        return Health(taken.at, (*stopping, _reason(result.status)))
    ahead = {database.database for database in result.databases if database.ahead}
    decisive = [
        finding
        for check in result.checks
        for finding in check.findings
        if check.name in _DECISIVE
        and finding.severity is Severity.ERROR
        and not (finding.rule == UnknownRevision.code and finding.database in ahead)
    ]
    warnings = [finding for finding in result.findings if finding.severity is not Severity.NOTE]
    dependencies = tuple(
        _database(database.database, database.seconds, taken.at, decisive, warnings)
        for database in result.databases
    )
    return Health(taken.at, (*stopping, *_reasons(decisive)), dependencies)


def _database(
    name: str, seconds: float | None, at: datetime, decisive: Iterable[Finding], warnings: Iterable[Finding]
) -> Dependency:
    reasons = [finding for finding in decisive if finding.database in (name, None)]
    others = [finding for finding in warnings if finding.database == name and finding not in reasons]
    rules = tuple(dict.fromkeys(finding.rule for finding in others))
    state = _state(_reasons(reasons), rules)
    message = next((finding.message for finding in (*reasons, *others)), None)
    return Dependency(name, "database", state, (*_reasons(reasons), *rules), seconds, at, message)


def _state(reasons: tuple[str, ...], warnings: tuple[str, ...] = ()) -> State:
    if not _WORKING.issuperset(reasons):
        return State.FAILED
    return State.DEGRADED if reasons or warnings else State.OK


def _reason(status: ExitCode) -> str:
    return _REASONS.get(status, "refused")


def _reasons(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_reason(finding.status) for finding in findings))


class Checks:
    """The registered checks, each with a time limit in seconds; one that does not end is not begun again."""

    def __init__(self, checks: Mapping[str, Check], limit: float) -> None:
        self._checks, self._limit = checks, limit
        self._tasks: dict[str, asyncio.Future[object]] = {}

    async def run(self) -> tuple[Dependency, ...]:
        """Run all checks concurrently; what raises or hangs is degraded."""
        return tuple(await asyncio.gather(*map(self._run, self._checks)))

    async def _run(self, name: str) -> Dependency:
        at, started = datetime.now(UTC), time.monotonic()
        task = self._tasks.get(name)
        if task is None or task.done():
            task = self._tasks[name] = asyncio.ensure_future(_await(self._checks[name]))
        await asyncio.wait({task}, timeout=self._limit)
        reason, message = "", None
        if not task.done():
            task.cancel()
            reason, message = "timeout", f"no answer within {self._limit:g} s"
        elif task.cancelled():
            reason, message = "timeout", "cancelled"
        elif (error := task.exception()) is not None:
            reason, message = "failed", f"{type(error).__name__}: {text_of(error)}"
        state = State.DEGRADED if reason else State.OK
        reasons = (reason,) if reason else ()
        return Dependency(name, "check", state, reasons, time.monotonic() - started, at, message)


async def _await(check: Check) -> object:
    return await check()
