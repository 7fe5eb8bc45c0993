"""Commands that look never write: on the server no transaction begins that could, in the folder no file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from circle_migrate.commands.history import current, history
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.core.errors import UsageError
from circle_migrate.migrate.guards import verify_identity
from circle_migrate.models.relations import RELATIONS
from circle_migrate.postgres.embedded.cluster import Cluster
from tests.cli.test_contract import COMMANDS
from tests.commands.shortcuts import claim, down, up
from tests.deployments import VARIABLES, contents, decline, deployment, invoke
from tests.servers import Databases, Server, any_major, run, start_binaries

# By command, the lines that read. A command of the application is here, in WRITING, or in both.
READING = {
    "branches": ["branches"],
    "check": ["check", "check --no-pending --format sarif", "check --files-only", "check --drift"],
    "consistency": ["consistency", "check --consistency"],
    "config schema": ["config schema"],
    "config show": ["config show", "config show --all"],
    "current": ["current"],
    "downgrade": ["downgrade --dry-run base", "downgrade --sql head:base"],
    "diff": ["diff"],
    "graph": ["graph --current", "graph entities --from live"],
    "heads": ["heads"],
    "help": ["help exit-codes"],
    "history": ["history", "history -i"],
    "kept list": ["kept list", "kept list --all"],
    "metrics": ["metrics"],
    "log": ["log", "log --slowest", "log --source dca7825748db"],
    "plan": ["plan", "plan --down base"],
    "recover": ["recover --dry-run"],
    "safety-check": ["safety-check"],
    "schema": ["schema status"],
    "snapshot": ["snapshot"],
    "show": ["show dca7825748db"],
    "stamp": ["stamp --dry-run head"],
    "stats": ["stats"],
    "status": ["status", "status --exit-code --format json"],
    "upgrade": ["upgrade --dry-run", "upgrade --sql", "upgrade --atomic --dry-run"],
    "wait": ["wait --timeout 0", "wait --timeout 0 --compatible"],
}
# They change databases, files of the project, or servers. `serve` does not end: see tests/api.
WRITING = {"downgrade", "init", "recover", "stamp", "upgrade", "merge", "revision", "squash", "rebase"}
WRITING |= {
    "accept-drift",
    "adopt",
    "backup create",
    "backup list",
    "backup prune",
    "backup verify",
    "restore",
    "kept restore",
    "kept drop",
    "protect",
    "unprotect",
}
WRITING |= {"serve", "dev psql", "dev reset", "dev snapshots", "dev start", "dev status", "dev stop"}

# All rows of all tables, system catalogs included, with where each lies and which transaction wrote it.
_TABLES = """
    SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname <> 'information_schema' ORDER BY 1
"""
_ROWS = "(SELECT md5(string_agg(concat(ctid, xmin, xmax, t), '' ORDER BY ctid)) FROM {0} t) AS \"{0}\""
_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences"
# Where this has not moved, no transaction has written, committed or not: writing needs a number from it.
_NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"

# These bring up a server of their own each time.
SLOW = ["check --drift", "downgrade --dry-run base", "graph entities --from live", "safety-check"]
QUICK = [line for lines in READING.values() for line in lines if line not in SLOW]

READ = {0, 3, 4}
"""Clean, pending, drift: the statuses of commands that have seen what they were to look at."""


@dataclass
class Place:
    """Where the commands look, as which role, and which of them end otherwise there."""

    name: str
    urls: dict[str, str]
    otherwise: dict[str, int] = field(default_factory=dict)


class Watched:
    """A server of our own, so that nobody else writes, and the databases on it."""

    def __init__(self, cluster: Cluster, url: str) -> None:
        self._cluster = cluster
        self._server = Server("watched", url, cluster.stop)
        self.empty, self.migrated = Databases(self._server), Databases(self._server)

    async def prepare(self) -> None:
        """An empty pair, and one at some revision, with more to come."""
        await self.empty.create()
        await self.migrated.create()
        await upgrade(deployment(self.migrated), ["main@c4198e875dd0", "credentials@b6785147bdeb"])
        for name in self.migrated.names:
            async with self.migrated.connect(name) as connection:
                await connection.execute(
                    f"REVOKE ALL ON DATABASE {self.migrated.names[name]} FROM PUBLIC; "
                    "REVOKE ALL ON SCHEMA public FROM PUBLIC"
                )

    async def grant_looking(self, role: str) -> None:
        """A role that may connect and read what reading commands read, and nothing else."""
        async with self.migrated.connect("main") as connection:
            await connection.execute(f"CREATE ROLE {role} LOGIN")
        for name in self.migrated.names:
            async with self.migrated.connect(name) as connection:
                await connection.execute(
                    f"GRANT CONNECT ON DATABASE {self.migrated.names[name]} TO {role}; "
                    f"GRANT USAGE ON SCHEMA public TO {role}; "
                    f"GRANT SELECT ON alembic_version, circle_migrate.runs, circle_migrate.steps TO {role}"
                )
        for relation in RELATIONS:
            for column in relation.columns.values():
                async with self.migrated.connect(column.database) as connection:
                    await connection.execute(f"GRANT SELECT ({column.name}) ON {column.table} TO {role}")

    async def default_to_read_only(self, *, on: bool) -> None:
        """Whether transactions on the migrated pair are READ ONLY unless they say otherwise."""
        change = "SET default_transaction_read_only = on" if on else "RESET ALL"
        connection = await asyncpg.connect(self._server.admin_url)
        for name in self.migrated.names.values():
            await connection.execute(f"ALTER DATABASE {name} {change}")
        await connection.close()

    def become_standby(self) -> None:
        """Go on as a hot standby, whose primary is never heard of."""
        self._cluster.stop()
        signal = self._cluster.data / "standby.signal"
        signal.touch()
        shutil.chown(signal, self._cluster.account.uid)
        self._cluster.start()

    def places(self) -> Iterator[Place]:
        """All places, each prepared when it is asked for; the last one cannot be left again."""
        urls = self.migrated.urls
        unknown_there = {"log --source dca7825748db": 2}
        yield Place("empty databases", self.empty.urls, unknown_there)
        yield Place("migrated databases", urls)
        run(self.grant_looking("looker"))
        looker = {name: url.replace("postgres@", "looker@", 1) for name, url in urls.items()}
        uncounted = {"downgrade --dry-run base": 5}
        yield Place("a role that may only look", looker, uncounted)
        run(self.default_to_read_only(on=True))
        yield Place("default_transaction_read_only", urls)
        run(self.default_to_read_only(on=False))
        self.become_standby()
        yield Place("a hot standby", urls)

    async def next_transaction(self) -> str:
        """The number that the next writing transaction of the server will get."""
        connection = await asyncpg.connect(self._server.admin_url)
        try:
            return str(await connection.fetchval(_NEXT_TRANSACTION))
        finally:
            await connection.close()

    async def rows(self) -> dict[str, dict[str, object]]:
        """Digests of everything in every database, by database and table."""
        contents = {}
        for pair in (self.empty, self.migrated):
            for name in pair.names:
                async with pair.connect(name) as connection:
                    tables = [row["name"] for row in await connection.fetch(_TABLES)]
                    query = "SELECT " + ", ".join(_ROWS.format(table) for table in tables)
                    digests = dict(await connection.fetchrow(query))
                    digests["sequences"] = await connection.fetch(_SEQUENCES)
                contents[pair.names[name]] = digests
        return contents


def test_every_command_is_known_to_read_or_to_write() -> None:
    assert READING.keys() | WRITING == set(COMMANDS)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("lines", "omitted"),
    [
        pytest.param(
            QUICK,
            {"empty databases", "migrated databases", "default_transaction_read_only", "a hot standby"},
            id="as a role that may only look",
        ),
        pytest.param([*QUICK, *SLOW], set(), id="everywhere", marks=pytest.mark.thorough),
    ],
)
def test_reading_commands_never_write(
    lines: Sequence[str],
    omitted: set[str],
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
) -> None:
    with start_binaries(any_major()) as (cluster, url):
        watched = Watched(cluster, url)
        run(watched.prepare())
        for place in watched.places():
            for name, variable in VARIABLES.items():
                monkeypatch.setenv(variable, place.urls[name])
            rows = run(watched.rows())
            for line in lines if place.name not in omitted else ():
                with subtests.test(place=place.name, line=line):
                    before = run(watched.next_transaction())
                    answer = invoke(line.split())
                    assert answer.status in {place.otherwise.get(line)} | READ, answer.everything
                    assert run(watched.next_transaction()) == before
            assert run(watched.rows()) == rows, place.name
        assert invoke(["status"]).stdout.count("  standby\n") == 2
        assert list(workdir.iterdir()) == []


async def marked_history(databases: Databases) -> None:
    target = deployment(databases)
    history(target, None, verify_identity(target, await target.states()))


READ_ONLY_RUNS: list[Callable[[Databases], Coroutine[Any, Any, Any]]] = [
    lambda databases: up(databases, dry_run=True),
    lambda databases: down(databases, "-1", dry_run=True, confirm=decline),
    lambda databases: down(databases, "base", dry_run=True, cascade=True, confirm=decline),
    lambda databases: claim(databases, "head", dry_run=True, confirm=decline),
    lambda databases: current(deployment(databases)),
    marked_history,
]


def test_dry_runs_and_reading_change_nothing(empty_databases: Databases) -> None:
    """Not even a version table is made, where there is none yet and where there is one."""

    async def scenario() -> None:
        for start in ([], ["main@b37f", "credentials@1e97"]):
            if start:
                await up(empty_databases, *start)
            before = await contents(empty_databases)
            for read in READ_ONLY_RUNS:
                with suppress(UsageError):
                    await read(empty_databases)
            assert await contents(empty_databases) == before

    run(scenario())
