"""Results of runs on a terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from circle_migrate.cli.console import console
from circle_migrate.cli.write import format_result, render
from circle_migrate.commands.log import LogResult
from circle_migrate.migrate.journal_rows import JournalRun, JournalStep
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
        "upgrade",
        Plan({"shop": (), "other": ()}, {"shop": (), "other": ()}, targeted=("shop",)),
        "serial",
        tables={"shop": ("users",)},
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


def test_a_plan_in_markdown_is_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = PlanResult("plan", Plan({"main": (), "credentials": ()}, {}, SEGMENTS), "serial")
    text = format_result("markdown", result)
    assert text == f"### circle-migrate plan, exit 0\n\n```text\n{PLAN}```\n"


def test_a_plan_that_is_too_long_for_a_comment_is_left_out() -> None:
    result = PlanResult("plan", Plan({"main": ()}, {}, SEGMENTS * 300), "serial")
    text = format_result("markdown", result)
    assert text == "### circle-migrate plan, exit 0\n\nThe comment is truncated.\n"


def test_a_plan_on_a_narrow_terminal_breaks_messages_only() -> None:
    result = PlanResult("plan", Plan({"main": (), "credentials": ()}, {}, SEGMENTS), "serial")
    page = io.StringIO()
    render(result, Console(file=page, width=80, force_terminal=True, color_system=None))
    lines = page.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    words = {word for line in lines for word in line.split()}
    assert set(PLAN.split()) <= words


def journaled(run: str, name: str, minute: int, error: str | None = None, **notes: object) -> JournalRun:
    started = datetime(2030, 12, 31, 18, minute, tzinfo=UTC)
    step = JournalStep(run, 1, "up", "m1", "text", started, 1512.14, None, {})
    outcome = "failed" if error else "done"
    fields = ("serial", {name: ["m1", "m2"]}, outcome, error, started, None, "owner", "ann", "ci", "0.1.0")
    return JournalRun(name, run, "upgrade", *fields, notes, (step,))


LOG = """\
25b30b16  2030-12-31 18:02:00 UTC  upgrade, serial, by ann@ci
  main: done, 1 of 2 steps, 1,512.1 ms, as owner
  credentials: failed, 1 of 2 steps, 1,512.1 ms, as owner
    upgrade c2 failed
    server no (SQLSTATE 22012)
  billing: failed, 1 of 2 steps, 1,512.1 ms, as owner
11111111  2030-12-31 18:01:00 UTC  upgrade, serial, by ann@ci
  main: done, 1 of 2 steps, 1,512.1 ms, as owner
    ran in spite of CM001; allowed: lock
"""


def test_the_log_has_an_entry_for_each_run() -> None:
    safety = {"found": [{"hazard": "CM001", "verdict": "danger"}], "allowed": ["lock"]}
    error = "upgrade c2 failed\nno (SQLSTATE 22012)\nmore"
    runs = (
        journaled("25b30b16-1", "billing", 3, error),
        journaled("25b30b16-1", "credentials", 3, error),
        journaled("25b30b16-1", "main", 2),
        journaled("11111111-1", "main", 1, safety=safety),
    )
    page = io.StringIO()
    render(LogResult("log", runs), console(page))
    assert page.getvalue() == LOG
