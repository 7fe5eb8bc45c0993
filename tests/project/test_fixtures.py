"""The fixtures of other tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.embedded.binaries import find
from tests.conftest import Cli
from tests.deployments import environment
from tests.embedded import ask
from tests.fork_server import Forked
from tests.servers import Databases, Server, run, start, start_binaries


def database_names(server: Server) -> str:
    return ask(server.admin_url, "SELECT string_agg(datname, ' ') FROM pg_database")


def test_every_server_can_prepare_transactions(admin_url: str) -> None:
    assert int(ask(admin_url, "SHOW max_prepared_transactions")) > 0


def test_databases_are_two_and_empty(empty_databases: Databases) -> None:
    assert set(empty_databases.urls) == {"main", "credentials"}
    tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert [ask(url, tables) for url in empty_databases.urls.values()] == ["0", "0"]
    assert len({ask(url, "SELECT current_database()") for url in empty_databases.urls.values()}) == 2


def test_databases_from_a_template(create_databases: Callable[..., Databases]) -> None:
    template = create_databases()
    ask(template.urls["main"], "CREATE TABLE copied ()")
    assert ask(create_databases(template).urls["main"], "SELECT to_regclass('copied')") == "copied"


def test_databases_are_dropped_whatever_the_test_left(server: Server) -> None:
    async def leave_a_mess() -> None:
        databases = Databases(server)
        await databases.create()
        async with databases.connect("main") as connection:
            await connection.execute("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'left ''over'")
            await connection.execute("BEGIN; CREATE TABLE u ()")
            await databases.drop()

    before = database_names(server)
    run(leave_a_mess())
    assert database_names(server) == before


def test_the_environment_is_scrubbed() -> None:
    prefixes = ("DATABASE_URL", "CREDS_", "CIRCLE_MIGRATE_", "PG", "NO_COLOR")
    assert [name for name in os.environ if name.startswith(prefixes)] == []


@pytest.mark.parametrize("arguments", [["heads"], ["nonsense"]])
def test_a_forked_command_answers_as_a_started_one(cli: Cli, arguments: list[str]) -> None:
    started, forked = cli(*arguments), Forked(*arguments, env={})
    assert forked.communicate() == (started.stdout, started.stderr)
    assert forked.returncode == started.returncode


def test_a_forked_command_that_is_killed_says_so(workdir: Path, empty_databases: Databases) -> None:
    forked = Forked("wait", env=environment(empty_databases))
    assert forked.stderr is not None
    assert "waiting" in forked.stderr.readline()
    forked.kill()
    assert forked.wait() == -signal.SIGKILL
    forked.communicate()


@pytest.mark.thorough
@pytest.mark.parametrize("major", [15, 16, 18])
def test_a_server_to_order(major: int) -> None:
    with start_binaries(major, {"work_mem": "5MB"}, hba="local all all trust\n") as (cluster, url):
        assert ask(url, "SHOW server_version").startswith(f"{major}.")
        assert ask(url, "SHOW work_mem") == "5MB"
        cluster.stop()
        cluster.start()
        assert ask(url, "SELECT count(*) FROM pg_hba_file_rules") == "1"


def test_a_server_to_order_skips_where_there_is_none() -> None:
    with pytest.raises(pytest.skip.Exception, match="no postgres of PostgreSQL 7 "), start_binaries(7):
        pass


@pytest.mark.parametrize("kind", ["embedded:16", pytest.param("binaries", marks=pytest.mark.thorough)])
def test_every_kind_of_server_starts_and_goes(kind: str) -> None:
    if kind == "binaries":
        try:
            find()
        except MigrateError as error:
            pytest.skip(error.message)
    server = start(kind)
    try:
        assert ask(server.url("postgres"), "SHOW max_prepared_transactions") == "32"
        assert ask(server.url("postgres"), "SHOW server_version").startswith(kind.partition(":")[2])
    finally:
        server.stop()
    with pytest.raises(OSError, match=r".*"):
        ask(server.admin_url, "SELECT 1")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("sqlite", "not container, embedded, binaries, one of them as in embedded:16, or a URL"),
        ("embedded:7", "there are "),
        ("embedded:new", "new is not a major version"),
    ],
)
def test_an_unknown_kind_is_refused(kind: str, why: str) -> None:
    with pytest.raises(pytest.UsageError, match=why):
        start(kind)
