"""The README says what the program does: its tables are compared with the program."""

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
def test_what_writes_figures_imports_what_there_is(path: Path) -> None:
    """Pages name the commands that measured them; nothing else runs those."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("circle_migrate"):
            module = importlib.import_module(str(node.module))
            for each in node.names:
                assert hasattr(module, each.name) or find_spec(f"{node.module}.{each.name}")
