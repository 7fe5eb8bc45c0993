"""kill -9 at every point of the commit protocol and after every step, in both modes and directions."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from circle_migrate.postgres.database import GID_PREFIX
from circle_migrate.revision_graph.plan import Direction
from tests.deployments import RUNS, environment, execute, invoke
from tests.faults.killed_process import KilledProcesses
from tests.faults.shop import BASE, HEAD, HEADS, Position, Shop
from tests.faults.states import outcomes, position, prepared, rows, steps
from tests.servers import Databases, run

UNDECIDED, TORN, DECIDED = "undecided", "torn", "decided"


@dataclass(frozen=True)
class Point:
    """The point at which the process ends, and the expected outcome of the run after recovery."""

    atomic: bool
    name: str
    outcome: str
    in_doubt: bool = False

    def __str__(self) -> str:
        return f"{'atomic' if self.atomic else 'serial'}: {self.name}"


POINTS = [
    *(Point(False, f"done {number}", UNDECIDED) for number in (1, 2, 3, 4)),
    *(Point(True, f"done {number}", UNDECIDED) for number in (2, 4)),
    Point(False, "before commit main", UNDECIDED),
    Point(False, "after commit main", TORN),
    Point(False, "before commit credentials", TORN),
    Point(False, "after commit credentials", DECIDED),
    Point(True, "before prepare credentials", UNDECIDED),
    Point(True, "after prepare credentials", UNDECIDED, in_doubt=True),
    Point(True, "before commit main", UNDECIDED, in_doubt=True),
    Point(True, "after commit main", DECIDED, in_doubt=True),
    Point(True, "before commit prepared credentials", DECIDED, in_doubt=True),
    Point(True, "after commit prepared credentials", DECIDED),
]
IN_DOUBT = [point for point in POINTS if point.in_doubt]
MENDED_BY_RUNNING_AGAIN = [point for point in POINTS if point.outcome is TORN or point.name == "done 4"]


@dataclass
class Killed:
    """A run from `start` to `goal` that was killed."""

    shop: Shop
    databases: Databases
    direction: Direction
    point: Point

    @property
    def start(self) -> Position:
        return BASE if self.direction is Direction.UP else HEAD

    @property
    def goal(self) -> Position:
        return HEAD if self.direction is Direction.UP else BASE

    @property
    def expected(self) -> Position:
        return {
            UNDECIDED: self.start,
            TORN: {"main": self.goal["main"], "credentials": self.start["credentials"]},
            DECIDED: self.goal,
        }[self.point.outcome]


# The protocol is the same in both directions, so one of them suffices without `thorough`.
@pytest.fixture(
    params=[
        pytest.param(Direction.UP, id="up"),
        pytest.param(Direction.DOWN, id="down", marks=pytest.mark.thorough),
    ]
)
def direction(request: pytest.FixtureRequest) -> Direction:
    return Direction(request.param)


@pytest.fixture
def killed(
    shop: Shop, killed_processes: KilledProcesses, databases: Databases, direction: Direction, point: Point
) -> Killed:
    if direction is Direction.DOWN:
        run(shop.upgrade(databases))
    ended = killed_processes.run(
        shop.folder, environment(databases), direction, point.name, atomic=point.atomic
    )
    assert ended == -signal.SIGKILL, "the point was not reached"
    return Killed(shop, databases, direction, point)


SOME_POINTS = [
    pytest.param(point, marks=[pytest.mark.thorough] * (number % 4 > 0))
    for number, point in enumerate(POINTS)
]


@pytest.mark.thorough
@pytest.mark.parametrize("point", SOME_POINTS, ids=str)
def test_recovered_and_run_again(killed: Killed) -> None:
    databases, shop = killed.databases, killed.shop
    recovered = run(shop.recover(databases))
    assert run(position(databases)) == killed.expected
    assert len(recovered.transactions) == killed.point.in_doubt
    assert run(prepared(databases)) == []
    assert {name: ended[-1] for name, ended in run(outcomes(databases)).items()} == dict.fromkeys(
        HEAD, "lost"
    )

    run(shop.move(databases, killed.direction))

    assert run(position(databases)) == killed.goal
    expected = {name: [("up", key) for key in keys] for name, keys in HEADS.items()}
    if killed.direction is Direction.DOWN:
        expected = {name: [*up, *(("down", key) for _, key in reversed(up))] for name, up in expected.items()}
    assert run(steps(databases)) == expected
    assert run(shop.recover(databases)).transactions == ()


@pytest.mark.thorough
@pytest.mark.parametrize("point", MENDED_BY_RUNNING_AGAIN, ids=str)
def test_running_again_is_enough_without_doubt(killed: Killed) -> None:
    run(killed.shop.move(killed.databases, killed.direction))
    assert run(position(killed.databases)) == killed.goal
    assert all("started" not in ended for ended in run(outcomes(killed.databases)).values())


@pytest.mark.thorough
@pytest.mark.parametrize("point", IN_DOUBT, ids=str)
def test_in_doubt_is_reported_and_nothing_changed(killed: Killed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(killed.databases).items():
        monkeypatch.setenv(name, value)
    left = run(prepared(killed.databases))
    for arguments in (["upgrade"], ["downgrade", "base", "--yes"]):
        answer = invoke(arguments)
        assert (arguments, answer.status) == (arguments, 8)
        assert "circle-migrate recover" in answer.stderr
    looked = invoke(["recover", "--dry-run"])
    assert looked.status == 8
    assert run(prepared(killed.databases)) == left
    assert invoke(["recover", "-d", "main"]).status == 0  # it has none
    with monkeypatch.context() as without:
        without.delenv("DATABASE_URL")
        asks = invoke(["recover", "-d", "credentials"])  # main decides
        assert (asks.status, "no URL is set for the database main" in asks.stderr) == (2, True)
    assert run(prepared(killed.databases)) == left
    answer = invoke(["recover", "-d", "credentials"])
    assert answer.status == 0
    assert run(prepared(killed.databases)) == []
    assert run(position(killed.databases)) == killed.expected


PREPARE = ("BEGIN", "CREATE TABLE left_alone ()", "PREPARE TRANSACTION '{gid}'")


@pytest.mark.thorough
@pytest.mark.parametrize("point", [Point(True, "after commit main", DECIDED, in_doubt=True)], ids=str)
@pytest.mark.parametrize(
    "gid", ["other:1:main:credentials", f"not_{GID_PREFIX}1", "CIRCLE_MIGRATE:1:2:main:x"]
)
def test_prepared_transactions_of_others_are_not_touched(killed: Killed, gid: str) -> None:
    run(execute(killed.databases, "credentials", *(line.format(gid=gid) for line in PREPARE)))
    assert len(run(killed.shop.recover(killed.databases)).transactions) == 1
    assert run(prepared(killed.databases)) == [gid]
    run(killed.shop.downgrade(killed.databases))
    assert run(prepared(killed.databases)) == [gid]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "form",
    [
        "",
        "x:1:main",
        "{run}:²:main:credentials",
        "{run}:99999999999:main:credentials",
        "{run}:1:main:credentials",
        "{run}:1:a:b",
        "00000000-0000-0000-0000-000000000000:1:main:credentials",
    ],
)
@pytest.mark.parametrize("by_own_role", [False, True])
def test_forged_name_stops_neither_upgrade_nor_recover(
    shop: Shop, databases: Databases, monkeypatch: pytest.MonkeyPatch, form: str, *, by_own_role: bool
) -> None:
    """Any role may prepare a transaction under any name, also that of a run it has seen."""
    for name, url in environment(databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.chdir(shop.folder)
    run(shop.upgrade(databases, atomic=True))
    ((key,),) = run(rows(databases, "credentials", f"SELECT run::text FROM {RUNS}"))
    gid = GID_PREFIX + form.format(run=key)
    eve = f"eve_{databases.names['main']}"
    forge = (
        f'CREATE ROLE "{eve}"',
        f'SET ROLE "{eve}"' if not by_own_role else "SELECT",
        "BEGIN",
        f"PREPARE TRANSACTION '{gid}'",
    )
    run(execute(databases, "credentials", *forge))
    try:
        run(shop.downgrade(databases))
        run(shop.upgrade(databases))
        recovered = run(shop.recover(databases))
        assert (recovered.transactions, recovered.not_ours["credentials"]) == ((), (gid,))
        answers = {line: invoke(line.split()) for line in ("check --no-pending", "recover")}
        assert {line: answer.status for line, answer in answers.items()} == dict.fromkeys(answers, 0), answers
        assert all(gid in answer.stdout for answer in answers.values()), answers
    finally:
        run(execute(databases, "credentials", f"ROLLBACK PREPARED '{gid}'", f'DROP ROLE "{eve}"'))


def test_forged_name_of_a_killed_run_is_finished_by_recover(
    shop: Shop, killed_processes: KilledProcesses, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migrator's own role can forge a name that cannot be told apart; the way out works."""
    for name, url in environment(databases).items():
        monkeypatch.setenv(name, url)
    killed_processes.run(shop.folder, environment(databases), Direction.UP, "done 4", atomic=True)
    ((key,),) = run(rows(databases, "credentials", f"SELECT run::text FROM {RUNS}"))
    gid = f"{GID_PREFIX}{key}:1:main:credentials"
    for _ in range(2):  # the run is open, then lost
        run(execute(databases, "credentials", *(line.format(gid=gid) for line in PREPARE)))
        answer = invoke(["upgrade"])
        assert (answer.status, "circle-migrate recover" in answer.stderr) == (8, True), answer
        assert invoke(["recover"]).status == 0
        assert run(prepared(databases)) == []
    run(shop.upgrade(databases))


def test_other_deployments_on_the_same_server_are_not_touched(
    shop: Shop, databases: Databases, create_databases: Callable[..., Databases]
) -> None:
    others = create_databases()
    gid = f"{GID_PREFIX}00000000-0000-0000-0000-000000000000:1:main:credentials"
    run(execute(others, "credentials", *(line.format(gid=gid) for line in PREPARE)))
    assert run(shop.recover(databases)).transactions == ()
    assert run(prepared(others)) == [gid]
