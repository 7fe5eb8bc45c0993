"""Structured logs: a line of JSON for each record on stderr, without secrets."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from circle_migrate.api.problem import request_id
from circle_migrate.api.snapshot import LOG
from circle_migrate.core.envelope import dump
from circle_migrate.core.redaction import redact_traceback

_NAMES = ("request_id", "method", "path", "status", "duration_ms", "client")
_MOST = 500
"""Characters of a path in the log."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; control characters are escaped and secrets masked."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        values: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        values |= {name: getattr(record, name) for name in _NAMES if hasattr(record, name)}
        if record.exc_info:
            values["traceback"] = redact_traceback("".join(traceback.format_exception(*record.exc_info)))
        return dump(values, indent=None).rstrip("\n")


@contextmanager
def logging_json(stream: TextIO) -> Iterator[None]:
    """Write our log and the warnings of uvicorn and asyncio to the stream, and nowhere else."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    levels = {"circle_migrate": logging.INFO, **dict.fromkeys(("uvicorn.error", "asyncio"), logging.WARNING)}
    loggers = {logging.getLogger(name): level for name, level in levels.items()}
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in loggers]
    for logger, level in loggers.items():
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, handlers, level, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


class AccessLog:
    """An application around another one that logs each request with its id, status and duration."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the request, and log it unless it is a probe that succeeded."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def watch(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            values = {
                "request_id": request_id(scope),
                "method": scope["method"],
                "path": scope["path"][:_MOST],
                "status": status,
                "duration_ms": round((time.monotonic() - started) * 1000, 1),
                "client": (scope.get("client") or ("",))[0],
            }
            is_probe = "/health/" in scope["path"] and status < 400
            LOG.log(logging.DEBUG if is_probe else logging.INFO, "request", extra=values)
