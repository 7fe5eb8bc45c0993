"""Results of runs on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from circle_migrate.cli.write import render
from circle_migrate.migrate.result import MigrationResult
from circle_migrate.revision_graph.plan import Plan


@pytest.mark.parametrize(
    ("count", "ending"), [(0, "none"), (20, "t18, t19"), (21, "t19, and 1 more"), (2000, "and 1,980 more")]
)
def test_thousands_of_tables_do_not_flood_the_terminal(count: int, ending: str) -> None:
    names = tuple(f"t{number}" for number in range(count))
    result = MigrationResult("upgrade", Plan({"shop": ()}, {"shop": ()}), "serial", tables={"shop": names})
    page = io.StringIO()
    render(result, Console(file=page, width=400))
    assert page.getvalue().rstrip().endswith(ending)
    assert result.to_dict()["databases"]["shop"]["tables"] == list(names)
