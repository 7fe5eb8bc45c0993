"""The file of `--events FILE`: each event of a run as a line with one JSON object."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from circle_migrate.cli.reports import ensure_writable
from circle_migrate.core.errors import UsageError
from circle_migrate.core.events import Event

VERSION = 1
"""Incremented when a key of an event in JSON is removed or changes its meaning."""


class EventLog:
    """The file that gets each event of a run as a line with one JSON object; without a path, nothing.

    The first event of the file is `begun`, the last `ended`, with the exit status.
    """

    def __init__(self, command: str = "", path: Path | None = None) -> None:
        self._command, self.path = command, path
        self._file: TextIO | None = None
        self._started = 0.0
        self.error: OSError | None = None

    def open(self) -> None:
        """Create the file with its folder, or empty it. Raises `UsageError`."""
        if self.path is None:
            return
        ensure_writable(self.path, "--events")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--events: {self.path} cannot be written", detail=error.strerror) from error
        self._started = time.monotonic()
        self._write(kind="begun")

    def __call__(self, event: Event) -> None:
        """Write an event."""
        self._write(**event._asdict())

    def end(self, exit_code: int) -> None:
        """Write the last event, and close the file."""
        self._write(kind="ended", exit_code=exit_code, seconds=round(time.monotonic() - self._started, 3))
        with self._keeping_error():
            if self._file is not None:
                self._file.close()

    def _write(self, **values: Any) -> None:
        if self._file is None or self.error is not None:
            return
        from circle_migrate.core.envelope import dump

        event = {
            "schema_version": VERSION,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "command": self._command,
            "kind": "",
            "database": None,
            "text": "",
            **Event._field_defaults,
            "exit_code": None,
        }
        with self._keeping_error():
            self._file.write(dump(event | values, indent=None))
            self._file.flush()

    @contextmanager
    def _keeping_error(self) -> Iterator[None]:
        """Keep an error of the file: it must not stop a run that changes databases."""
        try:
            yield
        except OSError as error:
            self.error = error
