"""How often `safety-check` is right on cases whose verdict is known.

    ./run python benchmarks/safety.py             # print the page; about ten minutes
    ./run python benchmarks/safety.py --write     # and write docs/safety-accuracy.md

Needs PostgreSQL 18 (the extra `embedded`) and 15.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from circle_migrate.safety.rules.engine import run_rules  # noqa: E402 - the tests' cases lie beside this folder
from circle_migrate.safety.rules.evidence import Limits, Thresholds  # noqa: E402
from tests.projects import Project  # noqa: E402
from tests.safety import (  # noqa: E402
    hazard_findings,
    measured_operations,
    measured_verdicts,
    safety_cases,
    safety_operations,
    verdict_cases,
)
from tests.servers import Databases, Server, start_binaries  # noqa: E402

_PAGE = _ROOT / "docs" / "safety-accuracy.md"
_MAJOR, _OLDER = 18, 15
_LABELS = ("safe", "warn", "danger")

_HEAD = """\
# How often the safety check is right

Written by `python benchmarks/safety.py --write`, on PostgreSQL {major} and {older}.

The expected verdict of each case was measured. A step is a danger if it fails on the existing rows, loses
stored values, breaks a statement of the running release, or works on a large table while others wait; a
warning if it writes many rows of a large table, drops a protection, may break a statement, or locks two
large tables at once; otherwise it is safe. What is dropped counts as used by the running release.

The authors of the rules wrote the cases, too: the figures show what is covered.

squawk 2.70, a linter for SQL, was part of the check until it had no correct finding left that the trace or
a rule does not have. On these cases and operations, five of which counted as warnings then, it was right in
22 of 40 and 119 of 198, and with rules chosen for Alembic in 20 and 130. Without a trace, those rules marked
77 of the 134 that are not safe, and 30 of the 104 that are; the rules that read text now mark 3 and none.
"""


_ROWS = "Cases with rows"
_RELEASE = "Cases with rows and statements of the running release"
_ALEMBIC = "Operations of Alembic, checked with assumed sizes only"
_MEASURED = """\
The expected verdicts are measured on both versions (`tests/safety/measured_verdicts.py`): locks, rows read
and written, new files, lost values, and statements that are generated from the schema: they read, change and
insert rows, call functions, use types and privileges. {differ} of the {all} cases have another verdict than
the measured one, each for a reason that is listed there, such as that a protection is dropped.

"""
_OTHERS = "Operations in the documentation of other tools, checked with assumed sizes only"
_HOW_MEASURED = """\
The operations are those that the documentation of these tools calls safe or unsafe, written anew on one
schema (`tests/safety/documented_operations.jsonl`). The expected verdict is measured with rows: locks, rows
read and written, new files, lost values, and statements of the running release. Documentation is right if it
calls safe what is measured as safe, and unsafe what is not; what it calls unsafe for another reason, such as
a discouraged type, counts as wrong here.

"""


@dataclass(frozen=True)
class Outcome:
    """One case: the right verdict and ours."""

    right: str
    ours: str


async def measured(
    databases: Databases, cases: Sequence[safety_cases.SafetyCase], rows: int
) -> AsyncIterator[Outcome]:
    """The cases with rows for the server's version, judged with a live database; a large table has `rows`."""
    version = await safety_cases.version_of(databases)
    for case in cases:
        if await safety_cases.missing_feature(case, databases):
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            project = Project(Path(folder))
            project.write_settings()
            safety_cases.write(case, project)
            facts = await safety_cases.evidence(case, databases, version)
            os.chdir(_ROOT)
        limited = replace(facts, thresholds=Thresholds(Limits(rows=rows)))
        yield Outcome(case.expect, safety_cases.verdict_of(run_rules(limited)))


async def operated(server: Server, file: str) -> AsyncIterator[Outcome]:
    """The operations of a file, judged by sizes alone."""
    schema, sizes, everything = safety_operations.operations(file)
    databases = Databases(server)
    await databases.create()
    one, other = databases.urls.values()
    async with (
        safety_operations.bench(one, schema) as rolled_back,
        safety_operations.bench(other, schema, commits=True) as committed,
    ):
        for operation in everything:
            if operation.case.since * 10000 > rolled_back.version:
                continue
            bench = committed if operation.commits else rolled_back
            verdict = safety_cases.verdict_of(bench.judged(await bench.traced(operation.case), sizes))
            yield Outcome(operation.case.expect, verdict)
    await databases.drop()


async def examples(live: Databases, scratch: Databases) -> AsyncIterator[Outcome]:
    """The examples of hazards; of a good one, only its own hazard would be wrong."""
    for case in hazard_findings.JUDGED:
        with tempfile.TemporaryDirectory() as folder:
            facts = await hazard_findings.evidence(case, live, scratch, Path(folder))
        own = [finding.severity for finding in run_rules(facts) if finding.rule == case.hazard.id]
        good = case.name == "good"
        ours = bool(own) if not good else any(level != "note" for level in own)
        yield Outcome(case.name, "found" if ours else "silent")


def matrix(title: str, outcomes: Sequence[Outcome]) -> str:
    """Our verdicts by the right one."""
    cells = Counter((outcome.right, outcome.ours) for outcome in outcomes)
    lines = [
        f"## {title}\n",
        "| Expected | Cases | Verdict: safe | warn | danger |",
        "| --- | --- | --- | --- | --- |",
    ]
    for right in _LABELS:
        group = [outcome for outcome in outcomes if outcome.right == right]
        ours = (str(cells[right, label]) for label in _LABELS)
        lines.append(f"| {right} | {len(group)} | {' | '.join(ours)} |")
    same = sum(outcome.right == outcome.ours for outcome in outcomes)
    lines.append(f"\nRight: {same} of {len(outcomes)}.\n")
    return "\n".join(lines)


def beside_others(outcomes: Sequence[Outcome]) -> str:
    """Our verdicts on the operations that other tools document, and how often each of us is right."""
    _, operations = measured_operations.documented()
    lines = [
        "| Tool | Operations | Right: ours | the tool's documentation |",
        "| --- | --- | --- | --- |",
    ]
    for tool in dict.fromkeys(stored["tool"] for stored in operations):
        pairs = [(a, b) for a, b in zip(operations, outcomes, strict=True) if a["tool"] == tool]
        ours = sum(outcome.right == outcome.ours for _, outcome in pairs)
        theirs = sum((stored["theirs"] == "safe") == (outcome.right == "safe") for stored, outcome in pairs)
        lines.append(f"| {tool} | {len(pairs)} | {ours} | {theirs} |")
    each = [
        "\n| Operation | Expected | Ours | The tool's documentation |",
        "| --- | --- | --- | --- |",
        *(
            f"| {stored['id']} | {outcome.right} | {outcome.ours} | {stored['theirs']} |"
            for stored, outcome in zip(operations, outcomes, strict=True)
        ),
    ]
    parts = [_HOW_MEASURED + "\n".join([*lines, *each]), reasons(safety_operations.DOCUMENTED)]
    return matrix(_OTHERS, outcomes) + "\n" + "\n".join(parts)


def reasons(file: str) -> str:
    """Why our verdict on operations of a file is another one than expected."""
    _, _, operations = safety_operations.operations(file)
    differ = [f"- {operation}: {operation.because}." for operation in operations if operation.because]
    return "\n".join(["\nOur verdict is another one in", "", *differ, ""])


def of_examples(outcomes: Sequence[Outcome]) -> str:
    """In how many bad examples the hazard is found, and in how many good ones it is not."""
    lines = [
        "## The examples of the hazards\n",
        "The bad example of a hazard shows it, the good one avoids it (docs/hazards.md). An example counts",
        "as found if the check finds this hazard in it.\n",
        "| Example | Cases | Found |",
        "| --- | --- | --- |",
    ]
    for name in ("bad", "good"):
        group = [outcome for outcome in outcomes if outcome.right == name]
        lines.append(f"| {name} | {len(group)} | {sum(item.ours == 'found' for item in group)} |")
    return "\n".join(lines) + "\n"


async def of_version(server: Server, live: Databases) -> dict[str, list[Outcome]]:
    """The verdicts that do not come from examples, on one server."""
    large, few = safety_cases.LARGE_ROWS, verdict_cases.ROWS
    return {
        _ROWS: [outcome async for outcome in measured(live, safety_cases.measured(), large)],
        _RELEASE: [outcome async for outcome in measured(live, verdict_cases.CASES, few)],
        _ALEMBIC: [outcome async for outcome in operated(server, safety_operations.ALEMBIC)],
        _OTHERS: [outcome async for outcome in operated(server, safety_operations.DOCUMENTED)],
    }


def of_older(outcomes: dict[str, list[Outcome]]) -> str:
    """How often our verdict is right on the older version."""
    rights = {title: sum(item.right == item.ours for item in group) for title, group in outcomes.items()}
    lines = [f"| {title} | {len(group)} | {rights[title]} |" for title, group in outcomes.items()]
    head = [
        f"## On PostgreSQL {_OLDER}\n",
        "| Cases that it can run | Cases | Right |",
        "| --- | --- | --- |",
    ]
    return "\n".join([*head, *lines]) + "\n"


async def compared(server: Server, older: Server) -> str:
    """The page."""
    pairs = Databases(server), Databases(server), Databases(older)
    for pair in pairs:
        await pair.create()
    live, scratch, old = pairs
    outcomes = await of_version(server, live)
    differ, cases = len(measured_verdicts.UNMEASURED), len(verdict_cases.CASES)
    parts = [
        _HEAD.format(major=_MAJOR, older=_OLDER),
        matrix(_ROWS, outcomes[_ROWS]),
        matrix(_RELEASE, outcomes[_RELEASE]) + "\n" + _MEASURED.format(differ=differ, all=cases).rstrip("\n"),
        "\n" + matrix(_ALEMBIC, outcomes[_ALEMBIC]) + reasons(safety_operations.ALEMBIC),
        beside_others(outcomes[_OTHERS]),
        of_older(await of_version(older, old)),
        of_examples([outcome async for outcome in examples(live, scratch)]),
    ]
    return "\n".join(parts)


def main() -> None:
    """Print the page, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {_PAGE.relative_to(_ROOT)}")
    arguments = parser.parse_args()
    with start_binaries(_MAJOR) as (_, url), start_binaries(_OLDER) as (_, older):
        servers = (Server("binaries", address, lambda: None) for address in (url, older))
        page = asyncio.run(compared(*servers))
    print(page)
    if arguments.write:
        _PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
