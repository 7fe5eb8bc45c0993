"""Metrics for Prometheus, made from the result of `status`; their only label is a name from the settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.core import CollectorRegistry, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from circle_migrate import __version__
from circle_migrate.commands.status import DatabaseStatus, StatusResult, status
from circle_migrate.core.atomic_write import write_text
from circle_migrate.core.errors import ExitCode, MigrateError
from circle_migrate.core.result import Result, json_fields
from circle_migrate.postgres.deployment import Deployment

__all__ = ["CONTENT_TYPE", "metrics", "metrics_text"]

Count = Callable[[DatabaseStatus], float | None]


def _read(number: Count) -> Count:
    """Return a function that returns None for a database that could not be read."""
    return lambda database: None if database.error else number(database)


def _of_last_run(number: Callable[[Any], float | None]) -> Count:
    return lambda database: number(database.last_run) if database.last_run else None


_DATABASE: dict[str, tuple[str, Count]] = {
    "up": ("Whether the database could be read.", lambda database: database.error is None),
    "read_duration_seconds": ("Time that reading it took.", lambda database: database.seconds),
    "at_head": (
        "Whether it is at, or ahead of, the heads of this release.",
        _read(lambda database: database.ahead or not (database.pending or database.unknown)),
    ),
    "pending_revisions": ("Revisions to apply.", _read(lambda database: len(database.pending))),
    "unknown_revisions": (
        "Current revisions that no file has.",
        _read(lambda database: len(database.unknown)),
    ),
    "locked": (
        "Whether a deployer has the lock.",
        _read(lambda database: database.lock_holder is not None),
    ),
    "last_run_timestamp_seconds": (
        "Start of the last run.",
        _of_last_run(lambda run: run.started_at.timestamp()),
    ),
    "last_run_duration_seconds": (
        "Duration of the last run.",
        _of_last_run(lambda run: (run.ended_at - run.started_at).total_seconds() if run.ended_at else None),
    ),
    "last_run_success": ("Whether it succeeded.", _of_last_run(lambda run: run.outcome == "done")),
}
"""The metrics of a database: their description, and their value, None for no sample."""

_FINDINGS = {
    "in_doubt": ("Transactions and revisions that are half done.", {ExitCode.IN_DOUBT}, set[str]()),
    "schema_changed": ("Whether the schema was changed by hand.", set(), {"schema-changed"}),
    "invalid_indexes": ("Indexes that are INVALID.", set(), {"invalid-index"}),
}
"""The metrics that count findings, by their exit status or their rule."""


def metrics_text(result: StatusResult | MigrateError, at: float) -> str:
    """Return the metrics in the text format of Prometheus; `at` is the time of the result, since 1970."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(result, at))
    return generate_latest(registry).decode()


class _Metrics(Collector):
    def __init__(self, result: StatusResult | MigrateError, at: float) -> None:
        self._result, self._at = result, at

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield the metrics."""
        result = self._result
        is_read = isinstance(result, StatusResult)
        info = GaugeMetricFamily("circle_migrate_info", "The release.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        text = "Whether the settings and revision files could be read."
        yield GaugeMetricFamily("circle_migrate_readable", text, value=is_read)
        text = "Time of these values."
        yield GaugeMetricFamily("circle_migrate_checked_timestamp_seconds", text, value=self._at)
        if not isinstance(result, StatusResult):
            return
        for name, (text, number) in _DATABASE.items():
            yield _family(name, text, {item.database: number(item) for item in result.databases})
        read = [item.database for item in result.databases if item.error is None]
        for name, (text, statuses, rules) in _FINDINGS.items():
            found = [item for item in result.findings if item.status in statuses or item.rule in rules]
            counts = {database: sum(item.database == database for item in found) for database in read}
            yield _family(name, text, counts)


def _family(name: str, text: str, values: dict[str, Any]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"circle_migrate_{name}", text, labels=["database"])
    for database, value in values.items():
        if value is not None:
            family.add_metric([database], value)
    return family


@dataclass(frozen=True, slots=True)
class MetricsResult(Result):
    """The result of `metrics`: the text, or the file that has it, and what could not be read."""

    text: str | None
    file: str | None
    status: ExitCode = ExitCode.DONE

    @property
    def exit_code(self) -> ExitCode:
        """The exit status of what could not be read; the metrics say so, too."""
        return self.status

    def to_dict(self) -> dict[str, Any]:
        """Return the text and the file."""
        return json_fields(self, "text file")


async def metrics(deployment: Deployment, output: Path | None = None) -> MetricsResult:
    """Return the metrics, saved to a file if one is given. Raises `UsageError` if it cannot be written."""
    result: StatusResult | MigrateError
    try:
        result = await status(deployment)
    except MigrateError as error:
        result = error
    text = metrics_text(result, time.time())
    code = result.status if isinstance(result, MigrateError) else ExitCode.DONE
    if output is None:
        return MetricsResult("metrics", text, None, code)
    write_text(output, text)
    return MetricsResult("metrics", None, str(output), code)
