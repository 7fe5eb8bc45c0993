"""downgrade: what it refuses, and that only the confirmed plan runs."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from circle_migrate.core.errors import (
    Refused,
)
from circle_migrate.revision_graph.plan import Plan
from tests.commands.shortcuts import MAIN, down
from tests.deployments import (
    contents,
    environment,
    execute,
    invoke,
    project_folder,
    versions,
)
from tests.faults.shop import Shop
from tests.servers import Databases, run

__all__ = ["project_folder"]


def test_downgrade_does_not_strand_the_other_database(migrated_databases: Databases) -> None:
    async def scenario() -> None:
        before = await contents(migrated_databases)
        with pytest.raises(Refused, match="credentials@1e978f7e8aa5") as caught:
            await down(migrated_databases, "main@base")
        assert "--cascade" in str(caught.value.hint)
        assert await contents(migrated_databases) == before

    run(scenario())


def test_what_was_confirmed_is_what_is_done(migrated_databases: Databases) -> None:
    """Somebody moves the databases while the question is on the screen."""

    async def scenario() -> None:
        def meanwhile(_plan: Plan) -> None:
            with ThreadPoolExecutor() as pool:
                pool.submit(run, down(migrated_databases, "main@-1")).result()

        with pytest.raises(Refused, match="have changed since the plan was made"):
            await down(migrated_databases, "main@-1", confirm=meanwhile)
        assert (await versions(migrated_databases))["main"] == [MAIN[-2]]

    run(scenario())


def test_hint_of_a_loss_can_be_typed(
    project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    up = ['CREATE TABLE "Größe (%) $x" (id int); INSERT INTO "Größe (%) $x" VALUES (1)']
    shop = Shop(project_folder)
    shop.add("main", "m1", None, up, ['DROP TABLE "Größe (%) $x"'])
    run(shop.upgrade(empty_databases))
    command = ["downgrade", "main@base", "-y", "--no-backup"]
    answer = invoke(command)
    hint = " ".join(answer.stderr.rpartition("to confirm, add ")[2].split())
    assert (answer.status, shlex.split(hint)[0]) == (5, "--accept-loss")
    assert invoke([*command, *shlex.split(hint)]).status == 0


def test_failure_on_a_scratch_database_leaves_nothing_half_done(
    project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t ()", "SELECT 1 / 0"], [], more="transactional = False")
    run(execute(empty_databases, "main", "CREATE TABLE own AS SELECT 1"))
    assert invoke(["stamp", "main@m1", "-y"]).status == 0
    answer = invoke(["downgrade", "main@base", "-y", "--no-backup"])
    assert (answer.status, "on a scratch database" in answer.stderr) == (10, True), answer
    assert "half" not in answer.stderr
    assert "stamp" not in answer.stderr
