"""Measure time and peak memory on much data: `consistency`, `backup`, and `diff` of many tables.

    ./run python benchmarks/large.py --write                          # an hour, and 30 GB of disk
    ./run python benchmarks/large.py --keys 1000000 --megabytes 200 --tables 1000

Each command runs once, in a process of its own, on the embedded server. Beside it runs what does the same
work without us: `psql` reads the keys of both databases in order, `pg_dump` dumps both, one after the other.
Peak memory is the resident one of the largest process of the command, also of `pg_dump`, not of the server.
With `--write`, the table goes into LARGE.md beside this script.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from databases import Bench, bench, conditions, ours
from projects import DATABASES, generate
from schemas import batches

from circle_migrate.postgres.embedded.binaries import find

_PAGE = Path(__file__).with_name("LARGE.md")
_PER_REVISION = '\n[tool.circle-migrate]\ntransaction = "per-revision"\n'
_RELATIONS = """
from circle_migrate.config.relation import Relation

RELATIONS = (Relation("owners", left="main.t1.id", right="credentials.t1.id"),)
"""
_KEYS = "INSERT INTO t1 SELECT i, 'name' FROM generate_series({first}, {last}) i; ANALYZE t1"
_ROWS = """
INSERT INTO t1 SELECT i, repeat(md5(i::text) || md5((-i)::text), 16) FROM generate_series({first}, {last}) i
"""
_ROWS_OF_A_MEGABYTE = 1024
_ROWS_AT_ONCE = 200_000


@dataclass(frozen=True)
class Measured:
    """Seconds of wall time and, in MB, the peak resident memory of the process."""

    seconds: float
    megabytes: float


def measure(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Measured:
    """Run a command. Raises `SystemExit` if it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: status {status}\n{errors}")
    return Measured(time.perf_counter() - begun, used.ru_maxrss / 1024)


def portions(text: str, rows: int) -> Iterator[str]:
    """Yield the statements that write all rows, and one that writes them to disk."""
    for first in range(1, rows + 1, _ROWS_AT_ONCE):
        yield text.format(first=first, last=min(first + _ROWS_AT_ONCE - 1, rows))
    yield "CHECKPOINT"


def upgraded(folder: Path, databases: Bench, revisions: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Write a project and bring a new pair of databases to its head."""
    generate(folder, revisions)
    (folder / "relations.py").write_text(_RELATIONS)
    with (folder / "pyproject.toml").open("a") as settings:
        settings.write(f'{_PER_REVISION}relations = "relations:RELATIONS"\n')
    env = databases.create()
    measure(ours("upgrade", "upgrade", "--quiet").commands[0], folder, env)
    return env


_T1 = [("CREATE TABLE t1 (id bigint PRIMARY KEY, name text NOT NULL)", "DROP TABLE t1")]


def consistency(folder: Path, databases: Bench, keys: int) -> Iterator[tuple[str, Measured]]:
    """Compare the keys of both databases."""
    env = upgraded(folder, databases, _T1)
    databases.execute(env, *portions(_KEYS, keys))
    yield f"`consistency`, {keys:,} keys a side", measure(command("consistency"), folder, env)
    psql = find(databases.status.major).folder / "psql"
    sort = "COPY (SELECT id FROM t1 ORDER BY id) TO STDOUT"
    each = [measure([str(psql), url, "--command", sort], folder, {}) for url in env.values()]
    yield "`psql` reads the keys of both", together(each)
    databases.drop(env)


def backup(folder: Path, databases: Bench, megabytes: int) -> Iterator[tuple[str, Measured]]:
    """Back up both databases."""
    env = upgraded(folder, databases, _T1)
    databases.execute(env, *portions(_ROWS, megabytes * _ROWS_OF_A_MEGABYTE // 2))
    programs = find(databases.status.major).folder
    yield (
        f"`backup` of {megabytes:,} MB",
        measure(command("backup", "create", "kept", "--pg-bin", str(programs)), folder, env),
    )
    each = []
    for name, url in zip(DATABASES, env.values(), strict=True):
        dump = [str(programs / "pg_dump"), url, "--format=custom", f"--file={folder / name}.dump"]
        each.append(measure(dump, folder, {}))
    yield "`pg_dump` of both", together(each)
    databases.drop(env)


def diff(folder: Path, databases: Bench, tables: int) -> Iterator[tuple[str, Measured]]:
    """Compare many tables with their revisions."""
    env = upgraded(folder, databases, [(batch, "SELECT 1") for batch in batches(tables)])
    yield f"`diff`, {tables:,} tables a side, expected catalog created", measure(command("diff"), folder, env)
    yield "`diff`, expected catalog stored", measure(command("diff"), folder, env)
    databases.drop(env)


def command(*arguments: str) -> Sequence[str]:
    """Return the command line of circle-migrate."""
    return ours("", *arguments).commands[0]


def together(each: Sequence[Measured]) -> Measured:
    """Return the sum of times and the larger memory of processes that run one after the other."""
    return Measured(sum(one.seconds for one in each), max(one.megabytes for one in each))


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keys", default="1000000,10000000", help="of each side; may be empty")
    parser.add_argument("--megabytes", default="500,5000", help="of both databases; may be empty")
    parser.add_argument("--tables", default="1000,10000", help="in each database; may be empty")
    parser.add_argument("--write", action="store_true", help=_PAGE.name)
    parsed = parser.parse_args(arguments)
    for name in ("keys", "megabytes", "tables"):
        setattr(parsed, name, [int(size) for size in getattr(parsed, name).split(",") if size])
    return parsed


def main(arguments: Sequence[str]) -> None:
    parsed = options(arguments)
    lines = ["| what | seconds | peak MB |", "| --- | ---: | ---: |"]
    with bench() as (folder, databases, major):
        intro = conditions(major, "one run of each")
        for work, sizes in ((consistency, parsed.keys), (backup, parsed.megabytes), (diff, parsed.tables)):
            for size in sizes:
                for name, measured in work(folder / f"{work.__name__}-{size}", databases, size):
                    lines.append(f"| {name} | {measured.seconds:.1f} | {measured.megabytes:.0f} |")
                    print(lines[-1], file=sys.stderr)
    call = f"    ./run python benchmarks/large.py {' '.join(arguments)}".rstrip()
    end = f"Load average at the end: {os.getloadavg()[0]:.1f}."
    text = "\n\n".join(["# Much data", call, intro.strip(), "\n".join(lines), end]) + "\n"
    print(text)
    if parsed.write:
        _PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
