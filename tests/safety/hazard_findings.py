"""Collect evidence about the examples of hazards: traced on one pair of databases, live on another."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from circle_migrate.config.relation import Relation
from circle_migrate.core.errors import MigrateError
from circle_migrate.migrate.alembic_adapter.context import InTurns, VersionTable
from circle_migrate.migrate.alembic_adapter.runner import Runner
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.plan import Plan, Step
from circle_migrate.safety.evidence_collector import EvidenceCollector
from circle_migrate.safety.hazards.hazard import HAZARDS, ExampleRevision
from circle_migrate.safety.rules.evidence import Evidence, Limits, Thresholds
from circle_migrate.safety.trace.record import Trace
from circle_migrate.safety.trace.recorder import Recorder, no_origin, origin
from circle_migrate.safety.trace.traced_connection import TracedConnection
from tests.deployments import deployment
from tests.safety.hazard_examples import CASES, Case, combined_graph, plan, prepared, write
from tests.safety.safety_cases import statements, without_rows
from tests.servers import NAMES, Databases

_TESTED_ELSEWHERE = frozenset({"CM044", "CM045", "CM080", "CM081", "CM082"})
"""Hazards of rendered SQL, round trips and comments, which a trace does not show."""

_KEYS = Relation("users", "main.users.id", "credentials.user_credentials.user_id")
_LIMITS = Limits(rows=100)
"""The examples' tables have 200 rows."""

JUDGED = tuple(case for case in CASES if case.hazard.id not in _TESTED_ELSEWHERE)
assert {case.hazard.id for case in JUDGED} == HAZARDS.keys() - _TESTED_ELSEWHERE


async def evidence(case: Case, live: Databases, scratch: Databases, folder: Path) -> Evidence:
    """Return the evidence about an example, whose files are written into the folder."""
    folders = {name: folder / name for name in NAMES}
    for path in folders.values():
        path.mkdir()
    write(case, folders)
    trees = combined_graph(folders)
    made = plan(case, trees)
    async with prepared(_bare(case), scratch):
        pass
    async with prepared(case, live):
        traced = await _traced(made, scratch, trees)
        collected = await EvidenceCollector(deployment(live), made, traced, ()).collect_live()
    untraced = case.hazard.id == "CM060"  # a hazard only without a trace
    return replace(
        collected,
        thresholds=Thresholds(_LIMITS),
        relations=(_KEYS,),
        secrets=NAMES[1],
        traced=not untraced,
    )


def _bare(case: Case) -> Case:
    """Return the case with a setup that creates no rows."""

    def bare(revision: ExampleRevision) -> ExampleRevision:
        return replace(revision, setup=_without_rows(revision.setup), meanwhile="")

    hazard = case.hazard
    bad, good = tuple(map(bare, hazard.bad)), tuple(map(bare, hazard.good))
    return replace(case, hazard=replace(hazard, setup=_without_rows(hazard.setup), bad=bad, good=good))


def _without_rows(setup: str) -> str:
    return ";\n".join(without_rows(tuple(statements(setup))))


async def _traced(made: Plan, scratch: Databases, trees: CombinedGraph) -> Trace:
    """Run the plan on databases with the setup; return its trace."""
    recorder = Recorder()
    databases = deployment(scratch).databases
    table = VersionTable(schema="public")
    runners = {name: Runner(trees.graphs[name], table, made.steps(name)) for name in made.databases}
    at = dict(made.current)
    async with AsyncExitStack() as stack:
        sessions = {}
        for name in made.databases:
            sessions[name] = await stack.enter_async_context(
                databases[name].working("circle-migrate test", {})
            )
            driver = (await sessions[name].adapter()).driver
            traced = TracedConnection(driver, databases[name].settings)
            await traced.begin()
            await sessions[name].run_sync(recorder.listen, traced)
        major = driver.get_server_version().major
        with suppress(MigrateError, SQLAlchemyError):
            for number, segment in enumerate(made.segments, 1):
                for name in segment.databases if segment.transactional else ():
                    await sessions[name].begin()
                for step in segment.actions:
                    assert isinstance(step, Step)
                    recorder.segment, recorder.revision = number, step.revision.id
                    recorder.origin = partial(origin, step)
                    run_step = runners[step.database].run
                    await InTurns(sessions[step.database].run_sync(run_step, step, at[step.database]))
                    recorder.origin = no_origin
                    at[step.database] = step.heads_after(runners[step.database].graph, at[step.database])
                for name in segment.databases if segment.transactional else ():
                    await sessions[name].commit()
        return Trace(tuple(recorder.statements), (), major)
