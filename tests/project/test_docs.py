"""The tables of the README agree with the program."""

from __future__ import annotations

import ast
import importlib
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from circle_migrate.core.errors import ExitCode

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_exit_status_is_listed_and_no_other() -> None:
    cells = re.findall(r"^\| ([\d, ]+) \|", section("Exit status"), re.MULTILINE)
    listed = {int(number) for cell in cells for number in cell.split(",")}
    assert listed == {int(code) for code in ExitCode}


@pytest.mark.parametrize(
    "variable", ["ATOMIC", "TRANSACTION", "LOCK_WAIT", "LOCK_TIMEOUT", "EMBEDDED", "EMBEDDED_DATA"]
)
def test_every_variable_in_the_table_is_a_setting(variable: str) -> None:
    from circle_migrate.config.load import load

    assert f"CIRCLE_MIGRATE_{variable}" in section("Configuration")
    keys = {value.key for value in load(environ={}).values}
    assert variable.lower().replace("_", "-") in keys


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_benchmarks_import_existing_names(path: Path) -> None:
    """No other test runs the benchmarks that the documentation names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("circle_migrate"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}")
