"""How often `safety-check` is right, and squawk alone, on the same cases.

    ./run python benchmarks/safety.py             # prints both; about three minutes
    ./run python benchmarks/safety.py --write     # and writes docs/safety-accuracy.md

Needs PostgreSQL 18 and squawk (the extras `embedded` and `safety`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from circle_migrate.core.traces import Traced  # noqa: E402 - the tests' cases lie beside this folder
from circle_migrate.core.verdicts.judging import judge  # noqa: E402
from circle_migrate.judging import squawk  # noqa: E402
from tests import hazard_verdicts, safety_cases, safety_operations  # noqa: E402
from tests.projects import Project  # noqa: E402
from tests.servers import Databases, Server, start_binaries  # noqa: E402

_PAGE = _ROOT / "docs" / "safety-accuracy.md"
_MAJOR = 18
_LABELS = ("safe", "warn", "danger")
_ALWAYS = {"require-lock-timeout", "require-statement-timeout", "require-timeout-settings"}
"""Rules of squawk that say of any text that it sets no timeouts, which the runner does."""

_HEAD = """\
# How often the safety check is right

Written by `python benchmarks/safety.py --write`, on PostgreSQL {major} with squawk {squawk}.

Right is what was measured: a step is a danger where it fails on the rows there are, loses stored values,
breaks a statement of the release that is running, or works on a large table while others wait for one; a
warning where it writes every row of a large table, drops what holds nothing, or locks two large tables at
once; else it is safe. squawk knows findings and no degrees of them, so that it is right about a warning or a
danger with any finding. "Tuned" are its findings without the rules we leave out, and with those that we
heed only where nothing could be traced (`circle_migrate/core/squawk_rules.py`); its rules about timeouts
count nowhere.

Of the operations we differ from the label in two that hold nobody up: LOCK TABLE by itself, where what
follows is judged under the lock, and CREATE TABLE AS, which reads a large table and locks nothing.

The cases were written by the same people as the judge: read the figures as what is covered.
"""


@dataclass(frozen=True)
class Outcome:
    """One case: the right verdict, ours, and whether squawk found anything by its own rules and by ours."""

    right: str
    ours: str
    plain: bool
    tuned: bool


def plain(statements: Sequence[Traced], version: int) -> bool:
    """Whether squawk, as it comes, has anything to say about statements in their transactions."""
    text = ""
    for segment in sorted({each.segment for each in statements}):
        group = [each for each in statements if each.segment == segment]
        body = "".join(f"{each.sql.rstrip('; ')}\n;\n" for each in group)
        text += f"BEGIN;\n{body}COMMIT;\n" if all(each.transactional for each in group) else body
    major, minor = divmod(version, 10000)
    options = ["--reporter", "json", "--config", os.devnull, "--pg-version", f"{major}.{minor}"]
    done = subprocess.run(
        [squawk.find() or "squawk", *options], input=text, capture_output=True, text=True, check=False
    )
    return any(each["rule_name"] not in _ALWAYS for each in json.loads(done.stdout or "[]"))


async def measured(databases: Databases) -> AsyncIterator[Outcome]:
    """The cases with rows, judged with a live database."""
    version = await safety_cases.version_of(databases)
    for case in safety_cases.measured():
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            project = Project(Path(folder))
            project.write_settings()
            safety_cases.write(case, project)
            found = await safety_cases.evidence(case, databases, version)
            os.chdir(_ROOT)
        ours = safety_cases.verdict_of(judge(found))
        yield Outcome(case.expect, ours, plain(found.trace.statements, version), bool(found.squawk))


async def operated(server: Server) -> AsyncIterator[Outcome]:
    """The operations, judged by sizes alone."""
    schema, sizes, everything = safety_operations.operations()
    databases = Databases(server)
    await databases.create()
    one, other = databases.urls.values()
    async with (
        safety_operations.bench(one, schema) as rolled_back,
        safety_operations.bench(other, schema, commits=True) as committed,
    ):
        for each in everything:
            bench = committed if each.commits else rolled_back
            traced = await bench.traced(each.case)
            verdict = safety_cases.verdict_of(bench.judged(traced, sizes))
            tuned = bool(bench.linted(traced))
            yield Outcome(each.case.expect, verdict, plain(traced, bench.version), tuned)
    await databases.drop()


async def examples(live: Databases, scratch: Databases) -> AsyncIterator[Outcome]:
    """The examples of hazards; of a good one, only its own hazard would be wrong."""
    version = await safety_cases.version_of(live)
    for case in hazard_verdicts.JUDGED:
        with tempfile.TemporaryDirectory() as folder:
            found = await hazard_verdicts.evidence(case, live, scratch, Path(folder))
        own = [each.severity for each in judge(found) if each.rule == case.hazard.id]
        good = case.name == "good"
        ours = bool(own) if not good else any(level != "note" for level in own)
        statements = found.trace.statements
        yield Outcome(
            case.name,
            "found" if ours else "silent",
            plain(statements, version),
            any(each.hazard == case.hazard.id for each in found.squawk),
        )


def matrix(title: str, outcomes: Sequence[Outcome]) -> str:
    """The verdicts of all three, by the right one."""
    cells = Counter((each.right, each.ours) for each in outcomes)
    lines = [
        f"## {title}\n",
        "| Right | Cases | Ours: safe | warn | danger | squawk: silent | finds | tuned: silent | finds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for right in _LABELS:
        group = [each for each in outcomes if each.right == right]
        ours = (str(cells[right, label]) for label in _LABELS)
        flags = (
            str(sum(getattr(each, name) == found for each in group))
            for name in ("plain", "tuned")
            for found in (False, True)
        )
        lines.append(f"| {right} | {len(group)} | {' | '.join(ours)} | {' | '.join(flags)} |")
    total = len(outcomes)
    alone, tuned = (
        sum(getattr(each, name) == (each.right != "safe") for each in outcomes) for name in ("plain", "tuned")
    )
    same = sum(each.right == each.ours for each in outcomes)
    lines.append(f"\nRight: ours {same} of {total}, squawk {alone}, squawk tuned {tuned}.\n")
    return "\n".join(lines)


def of_examples(outcomes: Sequence[Outcome]) -> str:
    """In how many bad examples the hazard is found, and in how many good ones it is not."""
    lines = [
        "## The examples of the hazards\n",
        "Each hazard's bad example shows it, and its good one avoids it (docs/hazards.md). Counted are those",
        "of which that very hazard is found; of squawk as it comes, any finding.\n",
        "| Example | Cases | Ours: found | squawk: any finding | tuned: found |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in ("bad", "good"):
        group = [each for each in outcomes if each.right == name]
        counts = (
            sum(each.ours == "found" for each in group),
            sum(each.plain for each in group),
            sum(each.tuned for each in group),
        )
        lines.append(f"| {name} | {len(group)} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines) + "\n"


def squawk_version() -> str:
    """The version of the binary."""
    command = [squawk.find() or "squawk", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


async def compared(server: Server) -> str:
    """The page."""
    live, scratch = Databases(server), Databases(server)
    await live.create()
    await scratch.create()
    parts = [
        _HEAD.format(major=_MAJOR, squawk=squawk_version()),
        matrix("Cases with rows", [each async for each in measured(live)]),
        matrix("Operations of Alembic, judged by sizes alone", [each async for each in operated(server)]),
        of_examples([each async for each in examples(live, scratch)]),
    ]
    return "\n".join(parts)


def main() -> None:
    """Print the page, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {_PAGE.relative_to(_ROOT)}")
    arguments = parser.parse_args()
    with start_binaries(_MAJOR) as (_, url):
        page = asyncio.run(compared(Server("binaries", url, lambda: None)))
    print(page)
    if arguments.write:
        _PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
