"""The benchmarks run, and the growth that they report is right."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SIZES = 50, 200, 800, 2000


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a module as the scripts do, whose folder is on the path."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.mark.parametrize("power", [0.5, 1, 1.5, 2])
@pytest.mark.parametrize("share", [0.005, 0.05, 1])
def test_exponent_of_growth(load: Callable[[str], ModuleType], power: float, share: float) -> None:
    times = {size: 0.08 * (1 + share * size**power) for size in SIZES}
    assert load("measurement").exponent(0.08 * (1 + share), times) == pytest.approx(power, abs=0.06)


@pytest.mark.parametrize("times", [(1, 1, 1, 1), (1.02, 0.99, 1.04, 1.01), (1.4, 1, 1, 1.04)])
def test_constant_time_has_exponent_0(load: Callable[[str], ModuleType], times: tuple[float, ...]) -> None:
    assert load("measurement").exponent(1, dict(zip(SIZES, times, strict=True))) == 0


def test_small_excess_with_errors_does_not_decide(load: Callable[[str], ModuleType]) -> None:
    """Linear, but 1 % too fast at 50 and 200, where growth adds less than that."""
    times = (0.9905, 0.992, 1.008, 1.02)
    linear = {size: 1 + 0.0005 * size * time for size, time in zip(SIZES, times, strict=True)}
    linear[50], linear[200] = 0.99, 1.09
    assert load("measurement").exponent(1, linear) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("time", [0.1, 0.99], ids=["bottom", "top"])
def test_plot_is_well_formed_with_labels_apart(load: Callable[[str], ModuleType], time: float) -> None:
    plot = load("plot")
    lines = [plot.Line(f"<{number}>", {10: 0.1, 100: time + number / 1000}) for number in range(8)]
    root = ElementTree.fromstring(plot.draw([plot.Panel("tables", lines)]))
    texts = {text.text: float(text.get("y", "")) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    heights = sorted(texts[f"<{number}>"] for number in range(8))
    assert all(below - above >= 13 for above, below in pairwise(heights))
    assert heights[0] >= texts["1 s"]
    assert heights[-1] <= texts["0.1 s"]


@pytest.mark.thorough
def test_growth_measures_every_command() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "growth.py"), "--rounds", "1"]
    sizes = ["--revisions", "2,3", "--tables", "2,60"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
    revisions = ["plan", "safety-check", "upgrade", "status", "heads", "history", "check", "downgrade"]
    tables = ["upgrade", "status", "check", "stats", "snapshot", "diff of a file", "diff without cache"]
    assert rows == ["revisions", "---", *revisions, "tables", "---", *tables]


@pytest.mark.thorough
def test_much_data_measures_every_command() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "large.py")]
    sizes = ["--keys", "1000", "--megabytes", "2", "--tables", "60"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split()[0].strip("`,") for row in rows] == [
        *("what", "---", "consistency", "psql", "backup", "pg_dump", "diff", "diff")
    ]
