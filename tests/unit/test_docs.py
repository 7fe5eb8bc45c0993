"""The README says what the program does: its tables are compared with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from circle_migrate.errors import ExitCode

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


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
    from circle_migrate.settings import load

    assert f"CIRCLE_MIGRATE_{variable}" in section("Configuration")
    keys = {value.key for value in load(environ={}).values}
    assert variable.lower().replace("_", "-") in keys
