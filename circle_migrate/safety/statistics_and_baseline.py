"""Files that pipelines commit: statistics, which are the result of `stats`, and baselines of known findings.

Statistics have rows and bytes of each table, so that no database is needed. They may be edited, and have no
checksum. In a baseline a finding has its hazard, revision, statement and subject, and not its line.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from circle_migrate import __version__
from circle_migrate.core.atomic_write import write_text
from circle_migrate.core.errors import UsageError
from circle_migrate.core.json_file import parse_json, read_bounded
from circle_migrate.core.result import Result
from circle_migrate.safety.live_database.record import Size
from circle_migrate.safety.result import HazardFinding

FORMAT = 1
"""Increased when a key of a file is removed or changes its meaning."""

SOURCE = "statistics file"
"""The source of sizes from a file."""

_STATISTICS = "circle-migrate statistics"
_BASELINE = "circle-migrate safety baseline"


@dataclass(frozen=True, slots=True)
class DatabaseStats:
    """The version of a server and the sizes of its database by relation."""

    server_version_num: int
    sizes: Mapping[str, Size]


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics of databases by name, and when they were taken."""

    taken_at: datetime
    databases: Mapping[str, DatabaseStats]

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics for JSON, sorted."""
        return {
            "taken_at": self.taken_at.isoformat(),
            "databases": {
                name: {
                    "server_version_num": database.server_version_num,
                    "relations": {
                        relation: {"rows": size.rows, "bytes": size.bytes, "index_bytes": size.index_bytes}
                        for relation, size in sorted(database.sizes.items())
                    },
                }
                for name, database in sorted(self.databases.items())
            },
        }


@dataclass(frozen=True, slots=True)
class StatsResult(Result):
    """Statistics, and the file that they were written to, None if none."""

    statistics: Statistics
    file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the file and the statistics for the JSON output, the databases in their order."""
        shown = self.statistics.to_dict()
        databases = {name: shown["databases"][name] for name in self.statistics.databases}
        return {"file": self.file, **shown, "databases": databases}


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Write statistics, sorted. Raises `UsageError` if the file cannot be written."""
    _write(path, "-o", _STATISTICS, statistics.to_dict())


def read_statistics(path: Path) -> Statistics:
    """Return the statistics in a file. Raises `UsageError` if it is missing, damaged or of a newer format."""
    hint = f"write it again: circle-migrate stats -o {path}"
    try:
        content = parse_json(read_bounded(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", detail=error.strerror, hint=hint) from error
    except ValueError as error:
        message = f"{path} is not a statistics file of circle-migrate, or is truncated"
        raise UsageError(message, detail=str(error), hint=hint) from error
    if not isinstance(content, dict) or content.get("kind") != _STATISTICS:
        raise UsageError(f"{path} is not a statistics file of circle-migrate", hint=hint)
    if isinstance(content.get("format"), int) and content["format"] > FORMAT:
        message = f"{path} has a newer format, of circle-migrate {content.get('tool')}"
        raise UsageError(message, hint=f"use that version, or {hint}")
    try:
        databases = {
            name: DatabaseStats(
                _number(database["server_version_num"]),
                {relation: _size(relation, size) for relation, size in database["relations"].items()},
            )
            for name, database in content["databases"].items()
        }
        return Statistics(datetime.fromisoformat(content["taken_at"]), databases)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path} has incomplete or invalid statistics", detail=detail, hint=hint) from error


def _size(relation: str, entry: dict[str, Any]) -> Size:
    rows = None if entry["rows"] is None else _number(entry["rows"])
    return Size(relation, rows, _number(entry["bytes"]), _number(entry["index_bytes"]), SOURCE)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{value} is not a number of rows or bytes")
    return value


def write_baseline(path: Path, findings: Iterable[HazardFinding]) -> None:
    """Write the findings, sorted. Raises `UsageError` if the file cannot be written."""
    names = ("fingerprint", "hazard", "database", "revision", "subject")
    entries = {
        finding.fingerprint: {name: finding.to_hazard_dict()[name] for name in names} for finding in findings
    }
    _write(path, "--baseline", _BASELINE, {"findings": [entries[key] for key in sorted(entries)]})


def read_baseline(path: Path) -> frozenset[str]:
    """Return the fingerprints in a file. Raises `UsageError` if it cannot be read or is no baseline."""
    hint = f"write it again: circle-migrate safety-check --baseline {path} --write-baseline"
    try:
        content: Any = parse_json(read_bounded(path))
        if content["kind"] != _BASELINE or content["format"] != FORMAT:
            raise UsageError(f"{path} is a baseline of another format", hint=hint)
        return frozenset(str(finding["fingerprint"]) for finding in content["findings"])
    except OSError as error:
        raise UsageError(f"{path} cannot be read", detail=error.strerror, hint=hint) from error
    except (ValueError, KeyError, TypeError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path} is not a baseline", detail=detail, hint=hint) from error


def _write(path: Path, option: str, kind: str, content: Mapping[str, Any]) -> None:
    """Write a file; `option` is the one that names it."""
    head = {"kind": kind, "format": FORMAT, "tool": __version__}
    text = json.dumps({**head, **content}, ensure_ascii=False, indent=2)
    write_text(path, f"{text}\n", hint=f"choose another file with {option}", make_folders=True)
