"""Measure reading and comparing catalogs, against `pg_dump --schema-only` and Alembic's comparison.

    ./run python benchmarks/catalog.py                           # 10, 1,000 and 5,000 tables; half an hour
    ./run python benchmarks/catalog.py --sizes 10,1000 --runs 5  # some minutes

Starts a private PostgreSQL in a temporary folder and creates databases with that many tables (`schemas.py`).
The contenders run in turns, each in a new process with a new connection. Ratios are of the CPU time of the
work, client and server together, without the start of Python and imports, which `run.py` measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import asyncpg
from databases import bench
from schemas import batches

from circle_migrate.postgres.catalog.fingerprint import fingerprint
from circle_migrate.postgres.catalog.read import read_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot, changes_between
from circle_migrate.postgres.embedded.binaries import find

_RESULTS = Path(__file__).with_name("CATALOG.md")
_DUMP, _ALEMBIC = "pg_dump --schema-only", "Alembic compare_metadata"


async def _captured(url: str) -> Snapshot:
    connection = await asyncpg.connect(url)
    try:
        return await read_catalog(
            connection, "main", "live", version_table="alembic_version", version_table_schema=None
        )
    finally:
        await connection.close()


def read_snapshot(url: str) -> Callable[[], object]:
    return lambda: asyncio.run(_captured(url))


def compared(url: str) -> Callable[[], object]:
    expected = asyncio.run(_captured(url))
    return lambda: changes_between(expected, asyncio.run(_captured(url)))


def fingerprinted(url: str) -> Callable[[], object]:
    async def work() -> str:
        connection = await asyncpg.connect(url)
        try:
            return await fingerprint(connection, "alembic_version")
        finally:
            await connection.close()

    return lambda: asyncio.run(work())


def by_alembic(url: str) -> Callable[[], object]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def work(on: Callable[..., object]) -> None:
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:", 1), poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(on)
        await engine.dispose()

    models = MetaData()
    asyncio.run(work(models.reflect))

    def difference(connection: object) -> object:
        options = {"compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), models)  # type: ignore[arg-type]

    return lambda: asyncio.run(work(difference))


WORK = {"snapshot": read_snapshot, "diff": compared, "fingerprint": fingerprinted, _ALEMBIC: by_alembic}


def measured(name: str, url: str, server: int) -> dict[str, float]:
    """Return the seconds of one contender: wall time, and CPU time of the client and of the server."""
    if name == _DUMP:
        command: Sequence[str] = [str(find(18).program("pg_dump")), "--schema-only", "--dbname", url]
        before, served, begun = _children(), _served(server), time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        client = _children() - before
    else:
        work = WORK[name](url)
        time.sleep(0.2)  # let the server finish its work for the preparation
        served, begun, before = _served(server), time.perf_counter(), time.process_time()
        work()
        client = time.process_time() - before
    wall = time.perf_counter() - begun
    time.sleep(0.2)  # the CPU time of a backend is counted when the postmaster notices its end
    return {"wall": wall, "client": client, "server": _served(server) - served}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _served(server: int) -> float:
    """Return the CPU seconds of the backends that have ended, which are children of the postmaster."""
    fields = Path(f"/proc/{server}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def contest(size: int, url: str, server: int, runs: int) -> list[str]:
    """Return the table rows of one size: medians, and ratios of CPU time."""
    names = [_DUMP, *WORK]
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            command = [sys.executable, __file__, "--work", name, url, str(server)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            samples[name].append(json.loads(done.stdout))
    cpu = {
        name: median(sample["client"] + sample["server"] for sample in of_name)
        for name, of_name in samples.items()
    }
    return [
        f"| {size} | {name} | {median(sample['wall'] for sample in samples[name]):.3f} | {cpu[name]:.3f} "
        f"| {cpu[name] / cpu[_DUMP]:.2f} | {cpu[name] / cpu[_ALEMBIC]:.3f} |"
        for name in names
    ]


async def fill(url: str, size: int) -> None:
    connection = await asyncpg.connect(url)
    for statements in batches(size):
        await connection.execute(statements)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default="10,1000,5000")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="into CATALOG.md")
    parser.add_argument("--work", nargs=3, metavar=("WHAT", "URL", "PID"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        name, url, server = asked.work
        print(json.dumps(measured(name, url, int(server))))
        return
    rows = [
        "| tables | what | wall s | CPU s, client and server | to pg_dump | to Alembic |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    with bench() as (_, databases, _):
        for size in map(int, asked.sizes.split(",")):
            url = databases.create()["DATABASE_URL"]
            asyncio.run(fill(url, size))
            rows += contest(size, url, databases.status.pid or 0, asked.runs)
            print("\n".join(rows), flush=True)
    command = f"    ./run python benchmarks/catalog.py --sizes {asked.sizes} --runs {asked.runs} --write"
    text = (
        f"# Cost of reading catalogs\n\n{command}\n\n"
        f"PostgreSQL 18, Python {sys.version.split()[0]}, {os.cpu_count()} processors, load average "
        f"{os.getloadavg()[0]:.1f} at the end. Medians of {asked.runs} runs.\n\n" + "\n".join(rows) + "\n"
    )
    if asked.write:
        _RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
