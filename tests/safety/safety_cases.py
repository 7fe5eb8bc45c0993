"""Migrations with an expected verdict, and how to get the actual one from their SQL.

A case has setup statements, a migration with BEGIN and COMMIT around its transactions, and one of `safe`,
`warn` and `danger`. The scratch database gets the setup without its rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circle_migrate.config.load import load
from circle_migrate.core.findings import Severity
from circle_migrate.migrate.planner import Planner
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction
from circle_migrate.safety.evidence_collector import EvidenceCollector
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.engine import run_rules
from circle_migrate.safety.rules.evidence import Evidence, Limits, Thresholds
from circle_migrate.safety.trace.run import trace_plan
from tests.deployments import environment
from tests.projects import Project
from tests.servers import Databases

LARGE_ROWS = 50_000
"""The cases' large tables have 60,000 rows."""

_MEASURED = Path(__file__).parent / "safety_cases.jsonl"
_TOKEN = re.compile(
    r"""(?P<whole>'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|--[^\n]*)|(?P<end>;)|.""",
    re.DOTALL,
)
_EXTENSION = re.compile(r"CREATE EXTENSION (\w+)")
_ROWS = re.compile(r"(?:INSERT|UPDATE|DELETE|ANALYZE|SELECT)\b", re.IGNORECASE)
_EXPECTATIONS = {Severity.ERROR: "danger", Severity.WARNING: "warn", Severity.NOTE: "safe"}


@dataclass(frozen=True)
class SafetyCase:
    """A case; `since` is the first major version of PostgreSQL with its statements."""

    id: str
    setup: tuple[str, ...]
    migration: tuple[str, ...]
    expect: str
    since: int = 0

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> SafetyCase:
        """Return the case of a JSON object."""
        return cls(
            stored["id"],
            tuple(statements(stored.get("setup_sql", ""))),
            tuple(statements(stored["migration_sql"])),
            stored["expect"],
            stored.get("pg_min", 0),
        )

    @property
    def transactions(self) -> Iterator[tuple[bool, tuple[str, ...]]]:
        """Yield whether a transaction is explicit, and its statements."""
        inside: list[str] | None = None
        for statement in self.migration:
            word = statement.strip().upper()
            if word == "BEGIN":
                inside = []
            elif word == "COMMIT":
                yield True, tuple(inside or ())
                inside = None
            elif inside is None:
                yield False, (statement,)
            else:
                inside.append(statement)

    def __str__(self) -> str:
        return self.id


def measured() -> tuple[SafetyCase, ...]:
    """Return the cases whose verdicts were measured: waits, losses, failing statements."""
    lines = _MEASURED.read_text(encoding="utf-8").splitlines()
    return tuple(SafetyCase.from_dict(json.loads(line)) for line in lines)


def statements(text: str) -> Iterator[str]:
    """Yield the statements of a text without semicolons."""
    begin = 0
    for match in _TOKEN.finditer(text + ";"):
        if match["end"]:
            if text[begin : match.start()].strip():
                yield text[begin : match.start()].strip()
            begin = match.end()


def without_rows(setup: Sequence[str]) -> Iterator[str]:
    """Yield the statements of a setup that create no rows, for the scratch database."""
    return (statement for statement in setup if not _ROWS.match(statement))


def write(case: SafetyCase, project: Project) -> None:
    """Write a first revision with the setup, and one for each transaction of the migration."""
    project.revision("main", "r0", None, _body(tuple(without_rows(case.setup))), "pass")
    for number, (transactional, group) in enumerate(case.transactions, 1):
        body = _body(group)
        if not transactional:
            body = f"with op.get_context().autocommit_block():\n    {body}"
        more = "" if transactional else "transactional = False"
        project.revision("main", f"r{number}", f"r{number - 1}", body, "pass", more=more)


def _body(sql: Sequence[str]) -> str:
    """Return code that sends statements unchanged; text() would read a colon as a parameter."""
    return "\n".join(f"op.get_bind().exec_driver_sql({statement!r})" for statement in sql) or "pass"


async def evidence(case: SafetyCase, databases: Databases, version: int) -> Evidence:
    """Return the evidence about a case that is written into the project of the current directory.

    The live database has the setup's rows; everything above the first revision is pending, each revision in
    a transaction of its own.
    """
    async with databases.connect("main") as connection:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        for statement in case.setup:
            await connection.execute(statement)
    overrides = {"scratch_url": databases.server.admin_url, "transaction": "per-revision"}
    if any(re.search(r"\b(?:CREATE|ALTER|DROP) ROLE\b", sql) for sql in case.migration):
        del overrides["scratch_url"]  # a live server's roles are not changed for a trial
    deployment = Deployment(load(overrides, environ=environment(databases)))
    plan = Planner(deployment, ["head"], Direction.UP)({"main": ("r0",), "credentials": ()})
    traced = await trace_plan(deployment, plan, major=version // 10000)
    collected = await EvidenceCollector(deployment, plan, traced, ()).collect_live()
    return replace(collected, thresholds=Thresholds(Limits(rows=LARGE_ROWS)))


def verdict_of(findings: Sequence[HazardFinding]) -> str:
    """Return the worst severity as a verdict of the cases."""
    severities = (finding.severity for finding in findings)
    worst = min(severities, key=lambda severity: severity.rank, default=Severity.NOTE)
    return _EXPECTATIONS[worst]


async def judged(case: SafetyCase, databases: Databases, version: int) -> tuple[HazardFinding, ...]:
    """Return the findings about a case."""
    return run_rules(await evidence(case, databases, version))


async def missing_feature(case: SafetyCase, databases: Databases) -> str:
    """Return what the server lacks for a case, empty for nothing."""
    if case.since > await version_of(databases) // 10000:
        return f"its statements are new in PostgreSQL {case.since}"
    async with databases.connect("main") as connection:
        rows = await connection.fetch("SELECT name FROM pg_available_extensions")
    needed = _EXTENSION.findall(" ".join(case.setup))
    missing = sorted({*needed} - {row["name"] for row in rows})
    return f"the server has no extension {', '.join(missing)}" if missing else ""


async def version_of(databases: Databases) -> int:
    """Return the server's version number."""
    async with databases.connect("main") as connection:
        return int(await connection.fetchval("SELECT current_setting('server_version_num')"))
