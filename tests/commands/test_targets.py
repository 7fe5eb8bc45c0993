"""Targets of upgrade, downgrade and stamp: where they lead, and which are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.config.load import load
from circle_migrate.core.errors import (
    LockNotObtained,
    NotConfirmed,
    UsageError,
)
from circle_migrate.postgres.deployer_lock import KEY
from circle_migrate.postgres.deployment import Deployment
from tests.commands.shortcuts import CREDENTIALS, HEADS, MAIN, Command, claim, down, up
from tests.deployments import (
    agree,
    contents,
    decline,
    deployment,
    environment,
    versions,
)
from tests.servers import Databases, run

# One way through both trees, each line from where the one before has left the databases: the command, its
# targets and options, and what each database is at afterwards (nothing: base).
WALK: list[tuple[Command, Sequence[str], dict[str, Any], str, str]] = [
    (up, ["main@+1"], {}, "dca7825748db", ""),
    (up, ["+1"], {}, "b37f99db0c0e", "1e978f7e8aa5"),
    (up, ["c4b0"], {}, "b37f99db0c0e", "c4b0e5c7784e"),
    (up, ["a930217cd080"], {}, "a930217cd080", "c4b0e5c7784e"),
    (up, ["a930217cd080+1"], {}, "843c768c33cd", "c4b0e5c7784e"),
    (up, ["main@f4e7", "credentials@+1"], {}, "f4e7d8b9c123", "84ae47170774"),
    (up, ["main@f4e7d8b9c123+1"], {}, "8b567d67961a", "84ae47170774"),
    (down, ["-1"], {}, "f4e7d8b9c123", "c4b0e5c7784e"),
    (down, ["main@-2", "d9aa"], {}, "a930217cd080", "d9aa8768cf02"),
    (down, ["843c768c33cd-2"], {}, "b37f99db0c0e", "d9aa8768cf02"),
    (up, ["head"], {"only": "credentials"}, "b37f99db0c0e", "c62c519f3e07"),
    (down, ["-4"], {"only": "credentials"}, "b37f99db0c0e", "c4b0e5c7784e"),
    (up, ["head-1"], {"only": "main"}, "47773a45acc2", "c4b0e5c7784e"),
    (up, ["heads"], {}, MAIN[-1], CREDENTIALS[-1]),
    (down, ["head-2"], {"only": "main"}, "c4198e875dd0", CREDENTIALS[-1]),
    (down, ["base+1"], {"only": "main"}, "dca7825748db", CREDENTIALS[-1]),
    (down, ["main@base"], {"cascade": True}, "", ""),
    (up, ["credentials@+1"], {}, "dca7825748db", "1e978f7e8aa5"),
    (up, ["head"], {}, MAIN[-1], CREDENTIALS[-1]),
    (down, ["base"], {}, "", ""),
    (claim, ["head"], {}, MAIN[-1], CREDENTIALS[-1]),
    (claim, ["-1"], {}, MAIN[-2], CREDENTIALS[-2]),
    (claim, ["main@+1", "c4b0"], {}, MAIN[-1], "c4b0e5c7784e"),
    (claim, ["dca7"], {}, "dca7825748db", "c4b0e5c7784e"),
    (claim, ["base"], {"only": "credentials"}, "dca7825748db", ""),
    (claim, ["base"], {}, "", ""),
]


@pytest.mark.thorough
def test_targets_lead_where_alembic_says_they_lead(empty_databases: Databases) -> None:
    async def scenario() -> None:
        for command, targets, options, main, credentials in WALK:
            said = f"{command.__name__} {' '.join(targets)} {options}"
            expected = {"main": [main] if main else [], "credentials": [credentials] if credentials else []}
            moved = await command(empty_databases, *targets, **options)
            assert moved.plan, said
            for name, after in moved.plan.after.items():
                assert list(after) == expected[name], said
            rows = await versions(empty_databases)
            assert {name: versions_of or [] for name, versions_of in rows.items()} == expected, said

    run(scenario())


NOT_A_TARGET = [
    (up, ["b37f99db0c0f"], "b37f99db0c0e (Add role-based access control tables"),
    (up, ["main@c4b0e5c7784e"], "main has no revision"),
    (up, ["transfer"], "Link memberships to the transfer requests"),
    (up, ["8"], "8b567d67961a"),
    (up, ["base"], "downgrade base"),
    (up, ["-1"], "downgrade -1"),
    (up, ["+99"], "99 steps"),
    (up, ["head", "main@head"], "two targets"),
    (up, ["nothing@head"], "nothing"),
    (up, ["main@"], "not a target"),
    (up, [""], "not a target"),
    (up, ["dca7825748db:head"], "dca7825748db:head"),
    (down, ["+1"], "upgrade +1"),
    (down, ["-9"], "9 steps"),
    (down, ["head"], "not applied"),
    (down, ["dca7825748dc"], "dca7825748db"),
    (claim, ["nonsense"], "no database has a revision 'nonsense'"),
]


def test_what_is_no_target_is_refused_with_what_may_be_meant(
    empty_databases: Databases, subtests: pytest.Subtests
) -> None:
    run(up(empty_databases, "main@b37f", "credentials@1e97"))
    before = run(contents(empty_databases))
    for command, targets, words in NOT_A_TARGET:
        with subtests.test(command=command.__name__, targets=targets):
            with pytest.raises(UsageError) as caught:
                run(command(empty_databases, *targets))
            assert words in f"{caught.value.message} {caught.value.hint}"
    assert run(contents(empty_databases)) == before


def test_database_outside_the_trees_is_refused(empty_databases: Databases) -> None:
    with pytest.raises(UsageError, match="orders") as caught:
        deployment(empty_databases, "orders")
    assert "main, credentials" in str(caught.value.hint)


def test_dry_run_plans_what_the_run_then_does(empty_databases: Databases) -> None:
    async def scenario() -> None:
        for command, targets in ((up, ["main@dca7", "credentials@d9aa"]), (up, ["head"]), (down, ["base"])):
            planned = await command(empty_databases, *targets, dry_run=True)
            done = await command(empty_databases, *targets)
            assert planned.plan == done.plan
            assert planned.plan

    run(scenario())


def test_nothing_to_do_needs_no_lock_and_something_does(migrated_databases: Databases) -> None:
    async def scenario() -> None:
        async with migrated_databases.connect("main") as other:
            await other.execute(f"SELECT pg_advisory_lock({KEY})")
            assert not (await up(migrated_databases)).plan
            targeted = [
                (await up(migrated_databases, *texts)).plan.targeted for texts in ((), ("main@head",))
            ]
            assert targeted == [("main", "credentials"), ("main",)]
            assert not (await claim(migrated_databases, "head", confirm=decline)).plan
            settings = load({"lock_wait": 0}, environ=environment(migrated_databases))
            with pytest.raises(LockNotObtained, match=f"pid {other.get_server_pid()}"):
                await downgrade(Deployment(settings), ["-1"], confirm=agree)
        assert await versions(migrated_databases) == HEADS

    run(scenario())


@pytest.mark.parametrize("command", [down, claim])
def test_unconfirmed_is_not_done(migrated_databases: Databases, command: Command) -> None:
    async def scenario() -> None:
        before = await contents(migrated_databases)
        with pytest.raises(NotConfirmed):
            await command(migrated_databases, "-1", confirm=decline)
        assert await contents(migrated_databases) == before

    run(scenario())
