"""Formatting of byte counts."""

from __future__ import annotations

import pytest

from circle_migrate.core.byte_size import format_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 kB"),
        (-2048, "-2.0 kB"),
        (5 * 1024**2 + 1024**2 // 2, "5.5 MB"),
        (3 * 1024**6, "3072.0 PB"),
    ],
)
def test_format_bytes(size: int, text: str) -> None:
    assert format_bytes(size) == text
