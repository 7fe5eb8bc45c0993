"""Real PostgreSQL servers for tests: one choice of where from, and special ones made to order."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.embedded.binaries import Binaries, find, find_embedded, find_installed
from circle_migrate.postgres.embedded.cluster import PORT, Cluster
from circle_migrate.postgres.embedded.os_user import OsUser
from circle_migrate.postgres.scratch import container

VARIABLE = "CIRCLE_MIGRATE_TEST_SERVER"
# Read once: every test runs with the variables of the package scrubbed.
FORCED = os.environ.get(VARIABLE)

_SOURCES = ("container", "embedded", "binaries")

NAMES = ("main", "credentials")
# For child processes: this checkout first, then what the tests themselves were given.
IMPORT_PATH = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))

T = TypeVar("T")

# Tests may lose their data; nothing of it is waited for.
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "max_connections": "200",
    "max_prepared_transactions": "32",
    "shared_buffers": "128MB",
    "timezone": "UTC",
}
_PREPARED = "SELECT gid, database FROM pg_prepared_xacts WHERE database = ANY($1::text[])"
_ROOM = 4 << 30


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end: tests are plain functions."""
    return asyncio.run(coroutine)


@dataclass(frozen=True)
class Server:
    """A running server that tests may make databases on."""

    kind: str
    admin_url: str
    stop: Callable[[], None]
    # What empty databases are copied from; others may have put something into template1.
    template: str = "template0"

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{quote(database, safe='')}"))


@dataclass
class Databases:
    """Databases of one test, by the names the package knows them under."""

    server: Server
    names: dict[str, str] = field(default_factory=dict)

    @property
    def urls(self) -> dict[str, str]:
        """Plain `postgresql://` URLs."""
        return {key: self.server.url(name) for key, name in self.names.items()}

    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the test's own to one of them."""
        connection = await asyncpg.connect(self.urls[name], statement_cache_size=0)
        try:
            yield connection
        finally:
            await connection.close()

    async def create(self, template: Databases | None = None) -> None:
        """Make both, as copies of a template's (nobody may be connected to those) or empty."""
        token = secrets.token_hex(6)
        connection = await asyncpg.connect(self.server.admin_url)
        try:
            for key in NAMES:
                source = self.server.template if template is None else template.names[key]
                self.names[key] = f"{key}_{token}"
                statement = f'CREATE DATABASE "{self.names[key]}" TEMPLATE "{source}"'
                # Half the time of WAL_LOG where nothing is waited for; older servers know no other way.
                known = connection.get_server_version() >= (15,)
                await connection.execute(f"{statement} STRATEGY file_copy" if known else statement)
        finally:
            await connection.close()

    async def drop(self) -> None:
        """Drop both; first roll back what tests left prepared, which would keep them from being dropped."""
        connection = await asyncpg.connect(self.server.admin_url, statement_cache_size=0)
        try:
            for gid, database in await connection.fetch(_PREPARED, list(self.names.values())):
                await self._roll_back(gid, database)
            for name in self.names.values():
                await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await connection.close()

    async def _roll_back(self, gid: str, database: str) -> None:
        connection = await asyncpg.connect(self.server.url(database))
        try:
            await connection.execute("ROLLBACK PREPARED '" + gid.replace("'", "''") + "'")
        finally:
            await connection.close()


@contextmanager
def created_pair(server: Server) -> Iterator[Databases]:
    """Both databases, empty, while the block runs."""
    pair = Databases(server)
    run(pair.create())
    try:
        yield pair
    finally:
        run(pair.drop())


def choose() -> str:
    """Where the server comes from: container, embedded, binaries or a URL; the one place that decides.

    All but a URL may name a major version, as in `embedded:16`; else the newest there is.
    """
    if FORCED:
        return FORCED
    if container.pull_image(container.NEWEST) is None:
        return "container"
    try:
        find_embedded()
    except MigrateError:
        return "binaries"
    return "embedded"


def _major(kind: str) -> int | None:
    """The major version that a kind names, if any."""
    source, _, major = kind.partition(":")
    if source not in _SOURCES or not major:
        return None
    if not major.isdecimal():
        raise pytest.UsageError(f"{VARIABLE}={kind}: {major} is not a major version")
    return int(major)


def any_major() -> int:
    """A PostgreSQL of this machine for servers made to order, the one asked for if there is such a wish.

    Skips where there is none.
    """
    wanted = _major(FORCED or "")
    if wanted is not None:
        return wanted
    for newest in (lambda: max(find_embedded()), lambda: find().major):
        try:
            return newest()
        except MigrateError:
            continue
    pytest.skip("no PostgreSQL on this machine")


def start(kind: str) -> Server:
    """Start the server of a kind that `choose` returned."""
    match kind.partition(":")[0]:
        case "container":
            return _start_container(container.image(_major(kind) or container.NEWEST))
        case "embedded":
            return _start_binaries("embedded", _chosen(kind, find_embedded()))
        case "binaries":
            return _start_binaries("binaries", _chosen(kind, find_installed()))
        case _ if kind.startswith(("postgres://", "postgresql://")):
            return Server("url", kind, lambda: None)
        case _:
            sources = ", ".join(_SOURCES)
            raise pytest.UsageError(
                f"{VARIABLE}={kind}: not {sources}, one of them as in embedded:16, or a URL"
            )


@contextmanager
def start_binaries(
    major: int, settings: Mapping[str, str] | None = None, *, hba: str | None = None
) -> Iterator[tuple[Cluster, str]]:
    """A server made to order (`settings` go to its configuration, `hba` replaces pg_hba.conf).

    Yields the cluster, to be stopped and started at will, and the URL of its maintenance database. Its data
    directory takes further files (TLS keys have to belong to `cluster.account`). Skips where the machine
    has no PostgreSQL of that version.
    """
    try:
        binaries = find(major)
    except MigrateError as error:
        pytest.skip(error.message)
    with _cluster(binaries) as cluster:
        if hba is not None:
            (cluster.data / "pg_hba.conf").write_text(hba, encoding="utf-8")
        cluster.configure(_socket(cluster), {**_SETTINGS, **(settings or {})})
        cluster.start()
        yield cluster, _admin_url(cluster)


def _start_container(image: str) -> Server:
    from testcontainers.community.postgres import PostgresContainer

    options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    running = PostgresContainer(image, driver=None).with_command(["postgres", *options])
    running.start()
    return Server(f"container {image}", running.get_connection_url(), running.stop)


def _chosen(kind: str, installed: dict[int, Binaries]) -> Binaries:
    major = _major(kind) or max(installed)
    if major not in installed:
        raise pytest.UsageError(f"{VARIABLE}={kind}: there are {', '.join(map(str, sorted(installed)))}")
    return installed[major]


def _start_binaries(kind: str, binaries: Binaries) -> Server:
    context = _cluster(binaries)
    cluster = context.__enter__()

    def stop() -> None:
        context.__exit__(None, None, None)

    try:
        cluster.configure(_socket(cluster), _SETTINGS)
        cluster.start()
    except BaseException:
        stop()
        raise
    server = Server(f"{kind} {binaries.major}", _admin_url(cluster), stop, "template1")
    run(_warm(server))
    return server


async def _warm(server: Server) -> None:
    """Let the template hold the cache that else the first connection to each of its copies would build."""
    connection = await asyncpg.connect(server.url(server.template))
    await connection.close()


def in_memory() -> str | None:
    """A folder in memory with room for many databases; None leaves the choice to the system.

    Making a database makes 300 files, which takes a disk's file system longer than anything a test does.
    """
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM:
        return str(memory)
    return None


@contextmanager
def _cluster(binaries: Binaries) -> Iterator[Cluster]:
    """A new data directory in a folder of its own, not below pytest's, which other users cannot enter."""
    account = OsUser.current() if os.geteuid() != 0 else OsUser.unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="cm-test-", dir=in_memory()))
    folder.chmod(0o755)
    cluster = Cluster(folder / "pgdata", folder / "server.log", binaries.reachable_for(account), account)
    try:
        cluster.create("--no-sync")
        (folder / "socket").mkdir()
        account.take_ownership(folder / "socket")
        yield cluster
    finally:
        try:
            cluster.stop()
        finally:
            shutil.rmtree(folder)


def _socket(cluster: Cluster) -> Path:
    return cluster.data.with_name("socket")


def _admin_url(cluster: Cluster) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(_socket(cluster)))}&port={PORT}"
