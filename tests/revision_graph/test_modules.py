"""Loading of revision files as modules."""

from __future__ import annotations

import os
from pathlib import Path

from circle_migrate.revision_graph.modules import load_module


def test_edit_with_the_same_size_and_second_is_loaded(tmp_path: Path) -> None:
    """With a bytecode cache, Python would run the old file."""
    path = tmp_path / "r1.py"
    for value in ("1", "2"):
        path.write_text(f"revision = {value}\n", encoding="utf-8")
        os.utime(path, (1_700_000_000, 1_700_000_000))
        assert load_module(path).revision == int(value)
    assert load_module(path).__file__ == str(path)
