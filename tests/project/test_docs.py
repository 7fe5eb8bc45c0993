"""The pages of commands and settings agree with the program."""

from __future__ import annotations

import ast
import importlib
import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_commands_page_is_current() -> None:
    render = runpy.run_path(str(DOCS / "reference.py"))["render"]
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == render(), "./run python docs/reference.py"


def test_tables_of_settings_are_current() -> None:
    render = runpy.run_path(str(DOCS / "reference.py"))["render_settings"]
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == render(), "./run python docs/reference.py"


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_benchmarks_import_existing_names(path: Path) -> None:
    """No other test runs the benchmarks that the documentation names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("circle_migrate"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}")
