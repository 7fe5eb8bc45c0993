"""Cases of drift: pairs of schemas with one difference, and databases for them."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.catalog.read import read_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.embedded.binaries import find
from tests.servers import run


@dataclass(frozen=True)
class Case:
    """Statements that create one side, and statements that change it into the other.

    `database` is said of cases that change what belongs to no schema.
    """

    id: str
    kind: str
    before: str
    after: str
    min_pg: int
    database: bool = False


CASES = [
    Case(**json.loads(line))
    for line in Path(__file__).with_name("drift_cases.jsonl").read_text(encoding="utf-8").splitlines()
]
_EXTENSION = re.compile(r"CREATE EXTENSION (\w+)")
LOCAL = [case for case in CASES if not case.database]


@dataclass
class Place:
    """A server for databases, with a pg_dump of its version."""

    admin_url: str
    major: int
    made: list[str] = field(default_factory=list)

    def url(self, name: str) -> str:
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{quote(name)}"))

    async def create(self, template: str = "template0") -> str:
        name = f"drift_{secrets.token_hex(4)}"
        strategy = "STRATEGY file_copy" if self.major >= 15 else ""
        await self._administer(f'CREATE DATABASE {name} TEMPLATE "{template}" {strategy}')
        self.made.append(name)
        return name

    async def drop_all(self) -> None:
        for name in self.made:
            await self._drop_subscriptions(name)
            await self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        async with capturing(self.url(name)) as connection:
            yield connection

    def program(self, name: str, *arguments: str, stdin: str | None = None) -> str:
        command = [find(self.major, program=name).program(name), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def dump(self, name: str) -> str:
        return self.program("pg_dump", "--schema-only", "--dbname", self.url(name))

    async def take(self, name: str) -> Snapshot:
        async with self.connect(name) as connection:
            return await take(connection)

    async def _administer(self, statement: str) -> None:
        async with self.connect("postgres") as connection:
            await connection.execute(statement)

    async def _drop_subscriptions(self, name: str) -> None:
        async with self.connect(name) as connection:
            for row in await connection.fetch(
                "SELECT subname FROM pg_subscription WHERE subdbid = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            ):
                await connection.execute(f'DROP SUBSCRIPTION "{row["subname"]}"')


async def take(connection: asyncpg.Connection) -> Snapshot:
    return await read_catalog(
        connection, "any", "live", version_table="alembic_version", version_table_schema="public"
    )


@asynccontextmanager
async def capturing(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection with cached plans: planning the snapshot queries takes longer than running them."""
    connection = await asyncpg.connect(url, server_settings={"plan_cache_mode": "force_generic_plan"})
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def undone(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Roll back all changes at the end."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


@contextmanager
def place(admin_url: str) -> Iterator[Place]:
    """Open databases that are dropped at the end; skip without a pg_dump of the server's version."""
    major = run(_major(admin_url))
    try:
        find(major, program="pg_dump")
    except MigrateError as error:
        pytest.skip(error.message)
    here = Place(admin_url, major)
    try:
        yield here
    finally:
        run(here.drop_all())


async def _major(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(connection.get_server_version().major)
    finally:
        await connection.close()


async def beyond_schemas(connection: asyncpg.Connection, cases: Iterable[Case]) -> list[Case]:
    """Return the cases of whole databases that the server supports."""
    rows = await connection.fetch("SELECT name FROM pg_available_extensions")
    available = {row["name"] for row in rows}
    major = connection.get_server_version().major
    return [
        case
        for case in cases
        if case.database and case.min_pg <= major and available.issuperset(_EXTENSION.findall(case.after))
    ]


async def load(connection: asyncpg.Connection, cases: Iterable[Case]) -> None:
    """Create the first side of all cases, in schemas of their names."""
    for case in cases:
        await connection.execute(f"CREATE SCHEMA {case.id}; SET search_path = {case.id}; {case.before}")
    await connection.execute("RESET search_path")


async def apply(connection: asyncpg.Connection, case: Case) -> None:
    await connection.execute(f"SET search_path = {case.id}; {case.after}")
    await connection.execute("RESET search_path")
