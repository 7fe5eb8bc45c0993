"""Measure circle-migrate, as whole processes, against plain Alembic and a minimal Python process.

    ./run python benchmarks/run.py                      # everything; about half an hour
    ./run python benchmarks/run.py --quick              # small trees, three rounds
    ./run python benchmarks/run.py --sizes 2,2000 --rounds 21 --most-moved 0 --write

Starts a private PostgreSQL in a temporary folder. Contenders run in turns (A B C A B C), each on all sizes of
trees before the next one; a first round is not counted. Compare the ratios, as the seconds depend on the
machine: they are medians of the ratios within a round. Growth is the ratio to the same contender's smallest
size. `peers.py` compares similar tools, `growth.py` sizes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from databases import NO_CACHE, Bench, bench, conditions, on_new_databases, ours
from measurement import Contender, Job, Row, Sample, interleaved, measure, table
from projects import DATABASES, generate, statements

_RESULTS = Path(__file__).with_name("RESULTS.md")
_PER_REVISION = {"TRANSACTION_PER_MIGRATION": "1"}

_FLOOR = "floor"
_PLAIN = "alembic, twice"
_FILLED_AT = 2
_ROWS = "INSERT INTO t1 SELECT i, 'name' FROM generate_series(1, 100000) i; ANALYZE t1"


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


def reading(databases: Bench, folder: Path, size: int) -> Job:
    """Return the commands that read the current revisions, and the upgrades that have nothing to do.

    circle-migrate has upgraded the databases to head, so that they have a journal.
    """
    env = databases.create()
    measure(replace(ours("upgrade", "upgrade"), env=env), folder)
    contenders = [
        alembic("alembic current, twice", "current"),
        alembic("alembic upgrade head, twice", "upgrade", "head"),
        Contender(_FLOOR, [[sys.executable, "floor.py"]], {}),
        *(ours(command, command) for command in ("status", "current", "heads", "check", "wait", "upgrade")),
    ]
    return Job(str(size), [replace(contender, env=env) for contender in contenders], folder)


def pending(databases: Bench, folder: Path, runs: int) -> list[Row]:
    """Measure the upgrade of ten pending revisions on tables with rows, whose safety is judged before it.

    A warm scratch server is unpacked from the cache, a cold one is created.
    """
    generate(folder, statements(_FILLED_AT + 10))
    first = ours("", "upgrade", *(f"{database}@+{_FILLED_AT}" for database in DATABASES))
    contenders = [
        alembic(_PLAIN, "upgrade", "head"),
        ours("circle-migrate, scratch server warm", "upgrade"),
        replace(ours("circle-migrate, scratch server cold", "upgrade"), env=NO_CACHE),
    ]
    samples: dict[str, list[Sample]] = {}
    for _ in range(runs):
        for contender in contenders:
            env = databases.create()
            measure(replace(first, env=env), folder)
            databases.execute(env, _ROWS)
            sample = measure(replace(contender, env={**contender.env, **env}), folder)
            samples.setdefault(contender.name, []).append(sample)
            databases.drop(env)
    return [Row("10 pending", name, each) for name, each in samples.items()]


def moving(databases: Bench, folder: Path, size: int, runs: int) -> list[Row]:
    """Measure upgrades from empty to head and downgrades to base, on a new pair of databases each time."""
    judge, up, down = f"safety-check {size}", f"up {size}", f"down {size}"
    plain = [alembic(up, "upgrade", "head"), alembic(down, "downgrade", "base")]
    jobs = [
        Job(_PLAIN, plain, folder),
        Job("circle-migrate", [ours(judge, "safety-check"), *_both_ways(up, down)], folder),
        Job(f"{_PLAIN}, per revision", [replace(one, env=_PER_REVISION) for one in plain], folder),
        Job("circle-migrate, per revision", _both_ways(up, down, "--transaction", "per-revision"), folder),
        Job("circle-migrate, atomic", _both_ways(up, down, "--atomic"), folder),
    ]
    rows = [Row(row.name, row.job, row.samples) for row in on_new_databases(databases, jobs, runs)]
    # A safety check is compared with the upgrade that it judges.
    rows += [Row(judge, _PLAIN, row.samples) for row in rows if (row.job, row.name) == (up, _PLAIN)]
    return sorted(rows, key=lambda row: ((up, down, judge).index(row.job), row.name != _PLAIN))


def _both_ways(up: str, down: str, *arguments: str) -> list[Contender]:
    return [ours(up, "upgrade", *arguments), ours(down, "downgrade", "base", "--yes", *arguments)]


def report(options: argparse.Namespace) -> Iterator[str]:
    """Yield the parts of the report, as they are measured."""
    with bench() as (folder, databases, major):
        rounds = f"{options.runs} rounds ({_moves(options.runs)} of full upgrades, with no round before)"
        yield conditions(major, rounds) + (
            "Medians in seconds of wall time and of the client's CPU time; ratios are medians of the ratios "
            "within a round, those of CPU time in brackets. If the load average exceeds the number of "
            "processors, other programs were running: CPU time is then more reliable than wall time."
        )
        yield "## Start-up\n\n" + table(start_up(folder, options.runs), ["python -c pass"])
        reading_jobs: list[Job] = []
        moves: list[Row] = []
        for size in options.sizes:
            project = folder / str(size)
            generate(project, statements(size))
            print(f"{size} revisions in each tree ...", file=sys.stderr)
            reading_jobs.append(reading(databases, project, size))
            if size <= options.most_moved:
                moves += moving(databases, project, size, _moves(options.runs))
        print("all sizes in turns ...", file=sys.stderr)
        yield "## Both databases at head, by size of the trees\n\n" + table(
            interleaved(reading_jobs, options.runs), [_FLOOR, "alembic current, twice"], grown=True
        )
        yield "## From empty to head and back to base\n\n" + table(moves, [_PLAIN])
        yield "## Ten pending revisions on filled tables\n\n" + table(
            pending(databases, folder / "filled", options.runs), [_PLAIN]
        )
        yield f"Load average at the end: {os.getloadavg()[0]:.1f}."


def _moves(runs: int) -> int:
    return max(runs // 2, 1)


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
