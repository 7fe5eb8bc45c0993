"""The server of the benchmarks, pairs of databases on it, and what runs on them."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
from measurement import Contender, Job, Row, Sample, measure
from projects import DATABASES

from circle_migrate.postgres.embedded.server import EmbeddedServer, ServerStatus

ROOT = Path(__file__).resolve().parent.parent
NO_CACHE = {"HOME": "", "XDG_CACHE_HOME": ""}
"""The environment of a command that finds nothing that an earlier one has stored."""


def ours(name: str, *arguments: str) -> Contender:
    """Return circle-migrate on both databases in one process."""
    return Contender(name, [[sys.executable, "-m", "circle_migrate", *arguments]], {})


class Bench:
    """Pairs of databases on the embedded server, whose address is `status`."""

    def __init__(self, status: ServerStatus) -> None:
        self.status = status
        self._made = 0

    def create(self) -> dict[str, str]:
        """Create an empty pair, and return the environment with its URLs."""
        self._made += 1
        names = {variable: f"{database}_{self._made}" for database, variable in DATABASES.items()}
        self._execute("postgres", *(f"CREATE DATABASE {name}" for name in names.values()))
        return {variable: self.status.url(name) for variable, name in names.items()}

    def drop(self, env: dict[str, str]) -> None:
        """Drop a pair."""
        for url in env.values():
            name = url.rpartition("?")[0].rpartition("/")[2]
            self._execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, env: dict[str, str], *statements: str) -> None:
        """Run statements, each in a transaction of its own, in both databases of a pair."""
        for url in env.values():
            asyncio.run(_execute(url, statements))

    def _execute(self, database: str, *statements: str) -> None:
        asyncio.run(_execute(self.status.url(database), statements))


async def _execute(url: str, statements: Sequence[str]) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@contextmanager
def bench() -> Iterator[tuple[Path, Bench, int]]:
    """Yield a temporary folder, databases on a server in it, and PostgreSQL's major version."""
    folder = Path(tempfile.mkdtemp(prefix="circle-migrate-benchmarks-"))
    folder.chmod(0o755)  # root starts the server as another user, which needs access
    server = EmbeddedServer(folder / "server")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stop the server with this script
    try:
        status = server.start()
        # As in an installed package, modules are compiled, but not into the checkout.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ.update(PYTHONPATH=str(ROOT), PYTHONPYCACHEPREFIX=str(folder / "bytecode"))
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # an earlier benchmark does not help this one
        yield folder, Bench(status), status.major or 0
    finally:
        server.reset()
        shutil.rmtree(folder)


def on_new_databases(databases: Bench, jobs: Sequence[Job], runs: int) -> list[Row]:
    """Measure the contenders of each job in their order on a new pair of databases, in rounds of all jobs.

    A contender finds the databases as the one before it left them. No round is left out.
    """
    samples: dict[tuple[str, str], list[Sample]] = {}
    for number in range(runs):
        for job in jobs:
            print(f"round {number + 1}: {job.name}", file=sys.stderr)
            env = databases.create()
            for contender in job.contenders:
                sample = measure(replace(contender, env={**contender.env, **env}), job.folder)
                samples.setdefault((job.name, contender.name), []).append(sample)
            databases.drop(env)
    return [Row(job, name, row_samples) for (job, name), row_samples in samples.items()]


def conditions(major: int, rounds: str) -> str:
    """Return a sentence on the machine and the number of rounds, which can be judged only together."""
    return (
        f"PostgreSQL {major} (the embedded one), Python {platform.python_version()}, {os.cpu_count()} "
        f"processors, load average {os.getloadavg()[0]:.1f} at the beginning, {rounds}. "
    )
