"""Results of runs on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from circle_migrate.cli.console import console
from circle_migrate.cli.write import render
from circle_migrate.migrate.result import MigrationResult, PlanResult
from circle_migrate.revision_graph.plan import Direction, Plan, Segment, Step, plan_without_changes
from circle_migrate.revision_graph.revision import Revision


@pytest.mark.parametrize(
    ("count", "ending"), [(0, "none"), (20, "t18, t19"), (21, "t19, and 1 more"), (2000, "and 1,980 more")]
)
def test_thousands_of_tables_do_not_flood_the_terminal(count: int, ending: str) -> None:
    names = tuple(f"t{number}" for number in range(count))
    plan = plan_without_changes(["shop"], {"shop": ("m1",)})
    result = MigrationResult("upgrade", plan, "serial", tables={"shop": names})
    page = io.StringIO()
    render(result, Console(file=page, width=400))
    assert page.getvalue().rstrip().endswith(ending)
    assert result.to_dict()["databases"]["shop"]["tables"] == list(names)


def test_a_run_without_steps_lists_no_tables() -> None:
    result = MigrationResult(
        "upgrade", Plan({"shop": ()}, {"shop": ()}), "serial", tables={"shop": ("users",)}
    )
    page = io.StringIO()
    render(result, console(page))
    assert page.getvalue() == "shop: already up to date at base\n"


INDEX = "8e3c00791810 cannot run in a transaction: ensure_index_concurrently"
MESSAGES = {
    "a": ("main", "903fbdb2f73e", "Add transfer requests between circles"),
    "b": ("credentials", "1e978f7e8aa5", "Initial user credentials model"),
    "c": ("main", "8e3c00791810", "Index memberships by transfer request, uniquely, for reports"),
    "d": ("main", "c4198e875dd0", "Add events"),
}


def segment(*ids: str, reason: str = "", transactional: bool = True) -> Segment:
    steps = (
        Step(Revision(name, key, message), Direction.UP)
        for name, key, message in map(MESSAGES.__getitem__, ids)
    )
    return Segment(tuple(steps), transactional, reason)


SEGMENTS = (
    segment("a", "b", reason=INDEX),
    segment("c", reason=INDEX, transactional=False),
    segment("d"),
)
PLAN = """\
commit: serial
step  transaction  database         revision      message
1     1            main         up  903fbdb2f73e  Add transfer requests between circles
2     1            credentials  up  1e978f7e8aa5  Initial user credentials model
3     none         main         up  8e3c00791810  Index memberships by transfer request, uniquely, for reports
4     2            main         up  c4198e875dd0  Add events
transaction ends after step 2, 3: 8e3c00791810 cannot run in a transaction: ensure_index_concurrently
"""


def test_a_plan_is_one_table_with_the_reasons_below() -> None:
    result = PlanResult("plan", Plan({"main": (), "credentials": ()}, {}, SEGMENTS), "serial")
    page = io.StringIO()
    render(result, console(page))
    assert page.getvalue() == PLAN


def test_a_plan_on_a_narrow_terminal_breaks_messages_only() -> None:
    result = PlanResult("plan", Plan({"main": (), "credentials": ()}, {}, SEGMENTS), "serial")
    page = io.StringIO()
    render(result, Console(file=page, width=80, force_terminal=True, color_system=None))
    lines = page.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    words = {word for line in lines for word in line.split()}
    assert set(PLAN.split()) <= words
