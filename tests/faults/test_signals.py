"""A signal at any moment: rolled back at once, the state in one sentence, exit status 128 + n."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.deployments import Answer
from tests.faults.processes import deploying, holding, started, until
from tests.faults.shop import HEAD, Shop
from tests.faults.states import outcomes, position, rows, steps
from tests.servers import Databases, run

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SECONDS_TO_ROLL_BACK = 2
TABLE = "SELECT relname FROM pg_class WHERE relname IN ('people', 'secrets')"

SLEEPING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
QUEUED = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'people'::regclass"
OURS = (
    "SELECT pid, state, query FROM pg_stat_activity "
    "WHERE application_name LIKE 'circle-migrate%' AND datname = current_database()"
)

each_signal = pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, id=number.name, marks=[pytest.mark.thorough] * (number is not signal.SIGTERM))
        for number in SIGNALS
    ],
)


async def gone(databases: Databases) -> None:
    """Wait until neither database has a session of the run, within the documented time."""
    deadline = time.monotonic() + SECONDS_TO_ROLL_BACK
    while left := [*await rows(databases, "main", OURS), *await rows(databases, "credentials", OURS)]:
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.05)


@pytest.fixture
def sleeping(own_shop: Shop) -> Shop:
    """A shop whose last step sleeps for a minute."""
    own_shop.add("main", "m1", None, ["CREATE TABLE people (id integer)"], [])
    own_shop.add("credentials", "c1", None, ["CREATE TABLE secrets (id integer)", "SELECT pg_sleep(60)"], [])
    return own_shop


@each_signal
def test_in_a_step(sleeping: Shop, databases: Databases, number: signal.Signals) -> None:
    async def scenario() -> None:
        with started(databases, sleeping.folder, "upgrade") as process:
            await until(databases, "credentials", SLEEPING)
            process.popen.send_signal(number)
            await gone(databases)
            answer = await asyncio.to_thread(process.end)
        assert answer.status == SIGNALS[number]
        assert "interrupted; uncommitted changes were rolled back" in answer.stderr
        assert "main is at base, credentials is at base" in answer.stderr
        assert "Traceback" not in answer.everything

    run(scenario())
    assert run(rows(databases, "main", TABLE)) == run(rows(databases, "credentials", TABLE)) == []
    assert run(outcomes(databases)) == {"main": ["interrupted"], "credentials": ["interrupted"]}


BUSY = """
import time
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        time.sleep(0.1)
    except BaseException:
        pass
"""
CATCHING = {
    "statement": 'try:\n    op.execute("SELECT pg_sleep(60)")\nexcept:\n    pass\n',
    "statement and error": 'try:\n    op.execute("SELECT pg_sleep(60)")\nexcept:\n    raise ValueError\n',
    "Python": BUSY,
    "Python and statement": f'{BUSY}op.execute("SELECT 1")',
    "autocommit": BUSY,
}


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=[pytest.mark.thorough] * (" " in how)) for how in CATCHING]
)
def test_in_a_step_that_catches_everything(own_shop: Shop, databases: Databases, how: str) -> None:
    """The run ends at the end of the step, as after any signal; a step without a transaction is kept."""
    own_shop.add("main", "m1", None, ["CREATE TABLE people (id integer)"], [])
    more = "transactional = False" if how == "autocommit" else ""
    body = f'op.execute("SELECT pg_advisory_lock(7)")\n{CATCHING[how]}'
    own_shop.revision("credentials", "c1", None, body, "pass", more=more)
    own_shop.add("credentials", "c2", "c1", ["CREATE TABLE secrets ()"], [])

    async def scenario() -> Answer:
        with started(databases, own_shop.folder, "upgrade", "--safety", "off") as process:
            await until(databases, "credentials", "SELECT 1 FROM pg_locks WHERE objid = 7 AND classid = 0")
            process.popen.send_signal(signal.SIGTERM)
            return await asyncio.to_thread(process.end)

    answer = run(scenario())
    assert answer.status == SIGNALS[signal.SIGTERM], answer
    assert "interrupted; uncommitted changes were rolled back" in answer.stderr
    at = ("m1", "c1") if more else ("base", "base")
    assert "main is at {}, credentials is at {}\n".format(*at) in answer.stderr
    assert run(rows(databases, "credentials", TABLE)) == []
    assert run(outcomes(databases)) == {"main": ["interrupted"], "credentials": ["interrupted"]}


@each_signal
def test_waiting_for_the_deployer_lock(shop: Shop, databases: Databases, number: signal.Signals) -> None:
    async def scenario() -> None:
        async with deploying(databases, "credentials") as pid:
            with started(databases, shop.folder, "upgrade") as process:
                assert process.popen.stderr is not None
                line = await asyncio.to_thread(process.popen.stderr.readline)
                assert f"pid {pid}" in line
                process.popen.send_signal(number)
                answer = await asyncio.to_thread(process.end)
        assert answer.status == SIGNALS[number]
        assert "interrupted" in answer.stderr
        assert "nothing was changed" in answer.stderr
        await gone(databases)

    run(scenario())
    assert run(rows(databases, "main", TABLE)) == []
    run(shop.upgrade(databases))
    assert run(position(databases)) == HEAD


@each_signal
@pytest.mark.thorough
def test_waiting_for_a_table(shop: Shop, databases: Databases, number: signal.Signals) -> None:
    run(shop.upgrade(databases))

    async def scenario() -> None:
        async with holding(databases, "main", "SELECT count(*) FROM people"):
            arguments = ("downgrade", "base", "--yes", "--lock-timeout", "60")
            with started(databases, shop.folder, *arguments) as process:
                await until(databases, "main", QUEUED)
                process.popen.send_signal(number)
                await gone(databases)
                answer = await asyncio.to_thread(process.end)
        assert answer.status == SIGNALS[number]
        assert "main is at m2, credentials is at c2" in answer.stderr

    run(scenario())
    assert run(position(databases)) == HEAD
    assert run(outcomes(databases)) == {name: ["done", "interrupted"] for name in HEAD}


def test_killed_in_a_step(sleeping: Shop, databases: Databases) -> None:
    async def scenario() -> None:
        with started(databases, sleeping.folder, "upgrade") as process:
            await until(databases, "credentials", SLEEPING)
            process.popen.kill()
            await gone(databases)

    run(scenario())
    assert run(steps(databases)) == {"main": [], "credentials": []}
    sleeping.add("credentials", "c1", None, ["CREATE TABLE secrets (id integer)"], [])
    run(sleeping.upgrade(databases))
    assert run(outcomes(databases)) == {name: ["lost", "done"] for name in HEAD}
