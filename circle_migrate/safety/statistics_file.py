"""Statistics as a file: rows and bytes of each table and no data, to know sizes without a server.

A pipeline has no way to the live databases, and judges plans by what was measured there. The file is meant
to be committed and may be edited: it is checked for being whole, not for being untouched.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from circle_migrate import __version__
from circle_migrate.core.errors import UsageError
from circle_migrate.safety.live_database.record import Size
from circle_migrate.safety.table_statistics import DatabaseStats, Statistics

FORMAT = 1
"""Raised when a key of the file changes its meaning or goes."""

SOURCE = "statistics file"
"""What the sizes of a file say of where they come from."""

_KIND = "circle-migrate statistics"


def write(path: Path, statistics: Statistics) -> None:
    """Write statistics, the same bytes for the same ones. Raises `UsageError` for a bad place."""
    head = {"kind": _KIND, "format": FORMAT, "tool": __version__}
    text = json.dumps(head | statistics.to_dict(), ensure_ascii=False, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written", detail=error.strerror, hint="name another place"
        ) from error


def read(path: Path) -> Statistics:
    """The statistics in a file. Raises `UsageError` for one that is missing, damaged, foreign or newer."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", detail=error.strerror, hint=_hint(path)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} holds no statistics of circle-migrate, or was cut off",
            detail=str(error),
            hint=_hint(path),
        ) from error
    if not isinstance(found, dict) or found.get("kind") != _KIND:
        raise UsageError(f"{path} holds no statistics of circle-migrate", hint=_hint(path))
    if isinstance(found.get("format"), int) and found["format"] > FORMAT:
        raise UsageError(
            f"{path} was written by circle-migrate {found.get('tool')}, in a format that is too new",
            hint=f"use that version, or: {_hint(path)}",
        )
    try:
        return _statistics(found)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{path} holds statistics that are not whole", detail=repr(error), hint=_hint(path)
        ) from error


def _statistics(found: dict[str, Any]) -> Statistics:
    databases = {
        name: DatabaseStats(
            _number(each["server_version_num"]),
            {relation: _size(relation, size) for relation, size in each["relations"].items()},
        )
        for name, each in found["databases"].items()
    }
    return Statistics(datetime.fromisoformat(found["taken_at"]), databases)


def _size(relation: str, found: dict[str, Any]) -> Size:
    rows = None if found["rows"] is None else _number(found["rows"])
    return Size(relation, rows, _number(found["bytes"]), _number(found["index_bytes"]), SOURCE)


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number of rows or bytes")
    return value


def _hint(path: Path) -> str:
    return f"take them anew: circle-migrate stats -o {path}"
