"""Measure how the time of each command grows with the number of revisions, and of tables.

    ./run python benchmarks/growth.py --write                             # everything
    ./run python benchmarks/growth.py --revisions 50,200 --tables 10,100 --rounds 1
    ./run python benchmarks/growth.py --tables "" --commands status,plan

Each round runs all commands once for each size, on a new pair of databases. The exponent of growth is of the
time beyond that at size 1 (`measurement.exponent`): 0 is constant, 1 linear, 2 quadratic. The tables are
created 50 a revision, each revision in its own transaction, as a transaction has a lock for each object.
The first round also fills the caches of all sizes but the smallest, so that one round alone is not exact.
With `--write`, the table goes into GROWTH.md beside this script, and the plot into docs/growth.svg.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from databases import NO_CACHE, ROOT, Bench, bench, conditions, on_new_databases, ours
from measurement import Job, Row, exponent
from plot import Line, Panel, draw
from projects import generate, statements
from schemas import batches

_PAGE = Path(__file__).with_name("GROWTH.md")
_PLOT = ROOT / "docs" / "growth.svg"
_START = 1

_BUILDS = "upgrade"  # always runs, since the commands after it need its databases
_COLD = "diff without cache"  # creates the expected catalog on a scratch server, as on a new machine
_COMMANDS = {
    "revisions": {
        "plan": "plan",
        "safety-check": "safety-check",
        _BUILDS: "upgrade",
        "status": "status",
        "heads": "heads",
        "history": "history",
        "check": "check",
        "downgrade": "downgrade base --yes",
    },
    "tables": {
        _BUILDS: "upgrade",
        "status": "status",
        "check": "check",
        "stats": "stats",
        "snapshot": "snapshot --output {database}.json",
        "diff of a file": "diff {database}.json live",
        _COLD: "diff",
    },
}
_EXPLAINED = (
    "Medians in seconds of wall time, and in brackets of the client's CPU time, by size. The exponent is of "
    "the time beyond that at size 1: 0 is constant, 1 linear, 2 quadratic."
)
_PER_REVISION = '\n[tool.circle-migrate]\ntransaction = "per-revision"\n'


@dataclass(frozen=True)
class Growth:
    """The rows of one command by size, of the start too."""

    command: str
    rows: dict[int, Row]

    @property
    def wall(self) -> dict[int, float]:
        """Median wall times by size, without the start."""
        return {size: row.wall for size, row in self.rows.items() if size != _START}

    @property
    def exponents(self) -> tuple[float, float]:
        """The exponents of wall time and of the client's CPU time."""
        start = self.rows[_START]
        cpu = {size: self.rows[size].cpu for size in self.wall}
        return exponent(start.wall, self.wall), exponent(start.cpu, cpu)


def measured(kind: str, options: argparse.Namespace, folder: Path, databases: Bench) -> list[Growth]:
    """Measure the chosen commands on revisions or on tables, for all sizes."""
    chosen = {
        name: command
        for name, command in _COMMANDS[kind].items()
        if not options.commands or name in (_BUILDS, *options.commands)
    }
    jobs = []
    for size in [_START, *getattr(options, kind)]:
        project = folder / f"{kind}-{size}"
        if kind == "revisions":
            generate(project, statements(size))
        else:
            generate(project, [(batch, "SELECT 1") for batch in batches(size)])
            with (project / "pyproject.toml").open("a") as settings:
                settings.write(_PER_REVISION)
        contenders = {name: ours(name, *command.split()) for name, command in chosen.items()}
        if _COLD in contenders:
            contenders[_COLD] = replace(contenders[_COLD], env=NO_CACHE)
        jobs.append(Job(str(size), list(contenders.values()), project))
    on_new_databases(databases, jobs[:1], 1)  # not counted: it compiles modules
    rows = on_new_databases(databases, jobs, options.rounds)
    return [Growth(name, {int(row.job): row for row in rows if row.name == name}) for name in chosen]


def table(kind: str, growths: Sequence[Growth]) -> str:
    """Return a Markdown table of times by size, and of the exponents."""
    sizes = list(growths[0].rows)
    lines = [
        f"| {kind} | {' | '.join(f'{size:,}' for size in sizes)} | exponent |",
        "| --- |" + " ---: |" * (len(sizes) + 1),
    ]
    for growth in growths:
        cells = [f"{row.wall:.3f} ({row.cpu:.3f})" for row in growth.rows.values()]
        wall, cpu = growth.exponents
        lines.append(f"| {growth.command} | {' | '.join(cells)} | {wall:.2f} ({cpu:.2f}) |")
    return "\n".join(lines)


def panel(kind: str, growths: Sequence[Growth]) -> Panel:
    """Return the plot of the wall times."""
    lines = [Line(f"{growth.command} {growth.exponents[0]:.1f}", growth.wall) for growth in growths]
    title = {"revisions": "revisions in each of two trees", "tables": "tables in each of two databases"}[kind]
    return Panel(title, lines)


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--revisions", default="50,200,800,2000", help="in each tree; may be empty")
    parser.add_argument("--tables", default="10,100,1000,5000", help="in each database; may be empty")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--commands", default="", help=f"only these and {_BUILDS}, which others need")
    parser.add_argument("--write", action="store_true", help=f"{_PAGE.name} and {_PLOT.relative_to(ROOT)}")
    parsed = parser.parse_args(arguments)
    for kind in _COMMANDS:
        sizes = [int(size) for size in getattr(parsed, kind).split(",") if size]
        if len(sizes) == 1 or not all(size > _START for size in sizes):
            parser.error(f"--{kind}: an exponent needs two sizes above {_START}")
        setattr(parsed, kind, sizes)
    parsed.commands = [name for name in parsed.commands.split(",") if name]
    return parsed


def main(arguments: Sequence[str]) -> None:
    parsed = options(arguments)
    parts = ["# Growth", f"    ./run python benchmarks/growth.py {' '.join(arguments)}".rstrip()]
    panels = []
    with bench() as (folder, databases, major):
        parts.append(conditions(major, f"{parsed.rounds} rounds") + _EXPLAINED)
        for kind in _COMMANDS:
            if getattr(parsed, kind):
                growths = measured(kind, parsed, folder, databases)
                parts.append(table(kind, growths))
                panels.append(panel(kind, growths))
    parts.append(f"Load average at the end: {os.getloadavg()[0]:.1f}.")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if parsed.write:
        _PAGE.write_text(text, encoding="utf-8")
        _PLOT.write_text(draw(panels), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
