"""Read and write files of table statistics, from which a pipeline knows sizes without a database.

The file has rows and bytes of each table. It may be committed and edited, so it has no checksum.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from circle_migrate import __version__
from circle_migrate.core.atomic_write import write_text
from circle_migrate.core.errors import UsageError
from circle_migrate.core.json_file import parse_json, read_bounded
from circle_migrate.safety.live_database.record import Size
from circle_migrate.safety.table_statistics import DatabaseStats, Statistics

FORMAT = 1
"""Increased when a key of the file is removed or changes its meaning."""

SOURCE = "statistics file"
"""The source of sizes from a file."""

_KIND = "circle-migrate statistics"


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Write statistics, sorted. Raises `UsageError` if the file cannot be written."""
    head = {"kind": _KIND, "format": FORMAT, "tool": __version__}
    text = json.dumps(head | statistics.to_dict(), ensure_ascii=False, indent=2) + "\n"
    write_text(path, text, hint="choose another file with -o", make_folders=True)


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
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise UsageError(f"{path} is not a statistics file of circle-migrate", hint=hint)
    if isinstance(content.get("format"), int) and content["format"] > FORMAT:
        raise UsageError(
            f"{path} has a newer format, of circle-migrate {content.get('tool')}",
            hint=f"use that version, or {hint}",
        )
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
