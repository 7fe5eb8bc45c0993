"""A saved plan runs where nothing has changed, and is refused otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deployments import Answer, environment, invoke
from tests.faults.shop import HEAD, Shop
from tests.faults.states import position
from tests.servers import Databases, run


@pytest.fixture
def planned(
    own_shop: Shop, databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Answer]:
    """Save the plan of an upgrade to head; return a function that runs it."""
    own_shop.write_standard_trees()
    for variable, url in environment(databases).items():
        monkeypatch.setenv(variable, url)
    file = str(tmp_path / "plan.json")
    assert invoke(["plan", "-o", file]).status == 0
    return lambda *flags: invoke(["upgrade", "--plan", file, *flags])


def test_runs_where_nothing_has_changed(planned: Callable[..., Answer], databases: Databases) -> None:
    assert planned("--dry-run").status == 0
    answer = planned()
    assert answer.status == 0, answer.stderr
    assert run(position(databases)) == HEAD
    again = planned()
    assert (again.status, "the current revisions" in again.stderr) == (5, True)


CHANGES = ["heads", "edited file", "new file", "mode"]


@pytest.mark.parametrize(
    ("what", "flags"),
    [
        *((what, ()) for what in CHANGES),
        ("heads", ("--dry-run",)),
        *(pytest.param(what, ("--dry-run",), marks=pytest.mark.thorough) for what in CHANGES[1:]),
    ],
)
def test_refused_where_something_has_changed(
    planned: Callable[..., Answer], own_shop: Shop, databases: Databases, what: str, flags: tuple[str, ...]
) -> None:
    words = {
        "heads": "the current revisions changed",
        "edited file": "the revision files changed",
        "new file": "the revision files changed",
        "mode": "the commit mode changed",
    }
    match what:
        case "heads":
            assert invoke(["upgrade", "main@m1"]).status == 0
        case "edited file":
            own_shop.add("main", "m2", "m1", ["ALTER TABLE people ADD name varchar(9)"], [])
        case "new file":
            own_shop.add("main", "m3", "m2", ["ALTER TABLE people ADD more text"], [])
        case "mode":
            flags = (*flags, "--atomic")
    before = run(position(databases))
    answer = planned(*flags)
    assert answer.status == 5, answer
    assert words[what] in answer.stderr
    assert run(position(databases)) == before
