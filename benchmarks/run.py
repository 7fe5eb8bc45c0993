"""Measure circle-migrate, as whole processes, against plain Alembic and a minimal Python process.

    ./run python benchmarks/run.py                      # everything; about half an hour
    ./run python benchmarks/run.py --quick              # small trees, three rounds
    ./run python benchmarks/run.py --sizes 2,2000 --rounds 21 --most-moved 0 --write

Starts a private PostgreSQL in a temporary folder. Contenders run in turns (A B C A B C), each on all sizes of
trees before the next one; a first round is not counted. Compare the ratios, as the seconds depend on the
machine: they are medians of the ratios within a round. Growth is the ratio to the same contender's smallest
size. dbmate, the fastest of similar tools on large trees, runs if it is installed, once per database:

    npm install --prefix /tmp/peer dbmate && export PATH=$PATH:$(echo /tmp/peer/node_modules/@dbmate/*/bin)
"""

from __future__ import annotations

import argparse
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
from measurement import Contender, Job, Row, Sample, interleaved, measure, table
from projects import DATABASES, PEER, generate

from circle_migrate.postgres.embedded.server import EmbeddedServer, ServerStatus

_ROOT = Path(__file__).resolve().parent.parent
_RESULTS = Path(__file__).with_name("RESULTS.md")
_OURS = [sys.executable, "-m", "circle_migrate"]
_PER_REVISION = {"TRANSACTION_PER_MIGRATION": "1"}

_FLOOR = "floor"
_PLAIN = "alembic, twice"


def ours(name: str, *arguments: str) -> Contender:
    """Return circle-migrate on both databases in one process."""
    return Contender(name, [[*_OURS, *arguments]], {})


def alembic(name: str, *arguments: str) -> Contender:
    """Return Alembic on one database after the other."""
    return Contender(
        name,
        [[sys.executable, "-m", "alembic", "-c", f"{tree}/alembic.ini", *arguments] for tree in DATABASES],
        {},
    )


def start_up(folder: Path, runs: int) -> list[Row]:
    """Measure the start of a process."""
    nothing = Contender("python -c pass", [[sys.executable, "-c", "pass"]], {})
    contenders = [nothing, ours("--version", "--version"), ours("--help", "--help")]
    return interleaved([Job("start", contenders, folder)], runs)


def peer(name: str, *arguments: str) -> list[Contender]:
    """Return dbmate on one database after the other; nothing where it is not installed."""
    if shutil.which(PEER) is None:
        return []
    commands = [
        [PEER, f"--env={variable}", f"--migrations-dir={database}/{PEER}", "--no-dump-schema", *arguments]
        for database, variable in DATABASES.items()
    ]
    return [Contender(name, commands, {})]


def reading(databases: Bench, folder: Path, size: int) -> Job:
    """Return the commands that read the current revisions, and the upgrades that have nothing to do.

    circle-migrate has upgraded the databases to head, so that they have a journal.
    """
    env = databases.create()
    for contender in (ours("upgrade", "upgrade"), *peer(PEER, "up")):
        measure(replace(contender, env=env), folder)
    contenders = [
        alembic("alembic current, twice", "current"),
        alembic("alembic upgrade head, twice", "upgrade", "head"),
        *peer(f"{PEER} status, twice", "status"),
        *peer(f"{PEER} up, twice", "up"),
        Contender(_FLOOR, [[sys.executable, "floor.py"]], {}),
        *(ours(command, command) for command in ("status", "current", "heads", "check", "wait", "upgrade")),
    ]
    return Job(str(size), [replace(contender, env=env) for contender in contenders], folder)


def moving(databases: Bench, folder: Path, size: int, runs: int) -> list[Row]:
    """Measure upgrades from empty to head and downgrades to base, on a new pair of databases each time."""
    pairs = {
        _PLAIN: (alembic(_PLAIN, "upgrade", "head"), alembic(_PLAIN, "downgrade", "base")),
        "circle-migrate": (
            ours("circle-migrate", "upgrade"),
            ours("circle-migrate", "downgrade", "base", "--yes"),
        ),
        "alembic, twice, per revision": (
            replace(alembic("alembic, twice, per revision", "upgrade", "head"), env=_PER_REVISION),
            replace(alembic("alembic, twice, per revision", "downgrade", "base"), env=_PER_REVISION),
        ),
        "circle-migrate, per revision": (
            ours("circle-migrate", "upgrade", "--transaction", "per-revision"),
            ours("circle-migrate", "downgrade", "base", "--yes", "--transaction", "per-revision"),
        ),
        "circle-migrate, atomic": (
            ours("circle-migrate", "upgrade", "--atomic"),
            ours("circle-migrate", "downgrade", "base", "--yes", "--atomic"),
        ),
    }
    samples: dict[tuple[str, str], list[Sample]] = {}
    for _ in range(runs):
        for name, (up, down) in pairs.items():
            env = databases.create()
            for job, contender in ((f"up {size}", up), (f"down {size}", down)):
                sample = measure(replace(contender, env={**contender.env, **env}), folder)
                samples.setdefault((job, name), []).append(sample)
            databases.drop(env)
    return [Row(job, name, rows) for (job, name), rows in sorted(samples.items(), key=_downgrades_last)]


def _downgrades_last(item: tuple[tuple[str, str], list[Sample]]) -> bool:
    return item[0][0].startswith("down")


class Bench:
    """Pairs of databases on the embedded server."""

    def __init__(self, status: ServerStatus) -> None:
        self._status = status
        self._made = 0

    def create(self) -> dict[str, str]:
        """Create an empty pair, and return the environment with its URLs."""
        self._made += 1
        names = {variable: f"{database}_{self._made}" for database, variable in DATABASES.items()}
        self._execute("postgres", *(f"CREATE DATABASE {name}" for name in names.values()))
        return {variable: self._status.url(name) for variable, name in names.items()}

    def drop(self, env: dict[str, str]) -> None:
        """Drop a pair."""
        for url in env.values():
            name = url.rpartition("?")[0].rpartition("/")[2]
            self._execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, database: str, *statements: str) -> None:
        async def execute() -> None:
            connection = await asyncpg.connect(self._status.url(database))
            for statement in statements:
                await connection.execute(statement)
            await connection.close()

        asyncio.run(execute())


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
        os.environ.update(PYTHONPATH=str(_ROOT), PYTHONPYCACHEPREFIX=str(folder / "bytecode"))
        yield folder, Bench(status), status.major or 0
    finally:
        server.reset()
        shutil.rmtree(folder)


def report(options: argparse.Namespace) -> Iterator[str]:
    """Yield the parts of the report, as they are measured."""
    with bench() as (folder, databases, major):
        yield (
            f"PostgreSQL {major} (the embedded one), Python {platform.python_version()}, "
            f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f} at the beginning, "
            f"{options.runs} rounds ({_moves(options.runs)} of full upgrades, with no round before). "
            "Medians in seconds of wall time and of the client's CPU time; ratios are medians of the ratios "
            "within a round, those of CPU time in brackets. If the load average exceeds the number of "
            "processors, other programs were running: CPU time is then more reliable than wall time."
        )
        if shutil.which(PEER) is None:
            yield f"{PEER} is not on the PATH and is left out."
        yield "## Start-up\n\n" + table(start_up(folder, options.runs), ["python -c pass"])
        reading_jobs: list[Job] = []
        moves: list[Row] = []
        for size in options.sizes:
            project = folder / str(size)
            generate(project_folder(project), size)
            print(f"{size} revisions in each tree ...", file=sys.stderr)
            reading_jobs.append(reading(databases, project, size))
            if size <= options.most_moved:
                moves += moving(databases, project, size, _moves(options.runs))
        print("all sizes in turns ...", file=sys.stderr)
        yield "## Both databases at head, by size of the trees\n\n" + table(
            interleaved(reading_jobs, options.runs), [_FLOOR, "alembic current, twice"], grown=True
        )
        yield "## From empty to head and back to base\n\n" + table(moves, [_PLAIN])
        yield f"Load average at the end: {os.getloadavg()[0]:.1f}."


def _moves(runs: int) -> int:
    return max(runs // 2, 1)


def project_folder(folder: Path) -> Path:
    """Create the folder and return it."""
    folder.mkdir()
    return folder


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default="2,50,500,2000", help="revisions per tree (default: %(default)s)")
    parser.add_argument(
        "--rounds", dest="runs", metavar="N", type=int, default=7, help="half as many for full upgrades"
    )
    parser.add_argument("--most-moved", type=int, default=500, help="largest tree for full upgrades")
    parser.add_argument("--quick", action="store_true", help="the same as --sizes 2,50 --rounds 3")
    parser.add_argument("--write", action="store_true", help=f"also write {_RESULTS.name} beside this script")
    parsed = parser.parse_args(arguments)
    if parsed.quick:
        parsed.sizes, parsed.runs = "2,50", 3
    parsed.sizes = [int(size) for size in parsed.sizes.split(",")]
    return parsed


def main(arguments: Sequence[str]) -> None:
    parsed = options(arguments)
    parts = ["# Cost of circle-migrate", "    ./run python benchmarks/run.py " + " ".join(arguments)]
    for part in report(parsed):
        print(part, end="\n\n", flush=True)
        parts.append(part)
    if parsed.write:
        _RESULTS.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
