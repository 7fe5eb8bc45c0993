"""Test that statistics files are written and read without loss, and that invalid ones are refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.core.errors import ExitCode, UsageError
from circle_migrate.safety.live_database.record import Size
from circle_migrate.safety.statistics_and_baseline import (
    FORMAT,
    SOURCE,
    DatabaseStats,
    Statistics,
    read_statistics,
    write_statistics,
)

SIZES = (Size('public."Ö"', 3, 8192, 16384, SOURCE), Size("public.t", None, 8192, 0, SOURCE))
STATISTICS = Statistics(
    datetime(2026, 3, 1, tzinfo=UTC),
    {
        "one": DatabaseStats(180001, {size.relation: size for size in SIZES}),
        "two": DatabaseStats(160001, {}),
    },
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "stats.json"
    write_statistics(path, STATISTICS)
    return path


def test_written_statistics_are_read(file: Path) -> None:
    assert read_statistics(file) == STATISTICS


def test_order_of_statistics_does_not_change_the_file(file: Path, tmp_path: Path) -> None:
    backwards = {
        name: DatabaseStats(database.server_version_num, dict(reversed(database.sizes.items())))
        for name, database in reversed(STATISTICS.databases.items())
    }
    write_statistics(tmp_path / "again.json", Statistics(STATISTICS.taken_at, backwards))
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()


def changed(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "circle-migrate snapshot"}, "not a statistics file"),
        ({"format": FORMAT + 1, "tool": "9.9"}, "a newer format, of circle-migrate 9.9"),
        ({"taken_at": "yesterday"}, "incomplete or invalid"),
        ({"databases": {"one": {}}}, "incomplete or invalid"),
        (
            {"databases": {"one": {"server_version_num": 180001, "relations": {"t": {"rows": 1}}}}},
            "incomplete or invalid",
        ),
        (
            {
                "databases": {
                    "one": {
                        "server_version_num": 180001,
                        "relations": {"t": {"rows": "many", "bytes": 1, "index_bytes": 1}},
                    }
                }
            },
            "incomplete or invalid",
        ),
        ({"databases": []}, "incomplete or invalid"),
    ],
)
def test_changed_file_is_refused(file: Path, changes: dict[str, Any], message: str) -> None:
    changed(file, **changes)
    with pytest.raises(UsageError, match=message) as caught:
        read_statistics(file)
    assert caught.value.status is ExitCode.USAGE
    assert "circle-migrate stats -o" in (caught.value.hint or "")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_invalid_json_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(UsageError, match="not a statistics file"):
        read_statistics(file)


def test_truncated_file_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UsageError, match="is truncated"):
        read_statistics(file)


def test_unusable_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_statistics(tmp_path / "missing.json")
    with pytest.raises(UsageError, match="cannot be written"):
        write_statistics(tmp_path, STATISTICS)
