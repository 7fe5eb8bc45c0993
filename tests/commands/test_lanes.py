"""The lanes of a tree: lines lead from each revision to its parents."""

from __future__ import annotations

import pytest

from circle_migrate.commands.graph.lanes import Lane, lanes
from tests.random_graph import random_graph


def reached(rows: list[Lane], number: int) -> list[str]:
    """Return the revisions to which the lines from a row lead, by the columns that they pass."""
    row = rows[number]
    found = []
    for column in range(row.place, row.place + len(row.parents)):
        assert row.column_below(column) == row.place
        line = column
        for upper, lower in zip(rows[number:], rows[number + 1 :], strict=False):
            if upper is not row:
                line += (len(upper.parents) - 1) * (line > upper.place)
            line = lower.column_above(line)
            if line == lower.place:
                found.append(lower.revision)
                break
            assert lower.column_below(line + (len(lower.parents) - 1) * (line > lower.place)) == line
    return found


@pytest.mark.parametrize("seed", range(200))
def test_lines_lead_to_the_parents(seed: int) -> None:
    parents = random_graph(seed)
    keys = list(parents)
    rows = list(lanes(parents))
    assert [row.revision for row in rows] == keys
    for number, row in enumerate(rows):
        assert reached(rows, number) == list(parents[row.revision]), rows
