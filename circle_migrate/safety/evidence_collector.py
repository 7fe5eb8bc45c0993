"""Collect evidence about a plan from its trace and the live databases, or from a file of statistics."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TypeVar

from circle_migrate.config.assumed_size import AssumedSize, SizeAssumption
from circle_migrate.config.object_reference import load_relations
from circle_migrate.core.errors import Interrupted, MigrateError
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import unquote_and_fold
from circle_migrate.revision_graph.plan import Direction, Plan
from circle_migrate.safety.live_database.record import ObjectUsage, Probe
from circle_migrate.safety.rules.evidence import NEVER, Evidence, Limits, Mode, Thresholds
from circle_migrate.safety.rules.refused_statements import privileges_by_role, role_losses
from circle_migrate.safety.statistics_and_baseline import Statistics
from circle_migrate.safety.trace.record import Lock, Trace, TracedStatement

_CONCURRENTLY = re.compile(r"\b(?:CREATE\s+(?:UNIQUE\s+)?INDEX|REINDEX\b.*)\s+CONCURRENTLY\b", re.I | re.S)
_STRICT = "strict"
"""The profile of the database that secrets belong to."""

_LIMITS = {AssumedSize.SMALL: NEVER, AssumedSize.LARGE: Limits(0, 0)}

T = TypeVar("T")


@dataclass(slots=True)
class EvidenceCollector:
    """Collects the evidence about a plan; `notes` gets the facts that could not be read."""

    deployment: Deployment
    plan: Plan
    trace: Trace
    assumptions: Sequence[SizeAssumption]
    notes: list[str] = field(default_factory=list)

    async def collect_live(self, *, traced: bool = True) -> Evidence:
        """Return evidence with facts from the live databases."""
        from circle_migrate.postgres.catalog.read_live import read_live_catalog
        from circle_migrate.safety.live_database import catalog
        from circle_migrate.safety.live_database.probes import derive_probes, run_probes, write_plans

        read, locks = self._read, self._locks
        unknown = {name: ObjectUsage() for name in self.plan.databases}
        usage = unknown | await read(
            "the catalog",
            lambda db: catalog.object_usage(db, self._relations(db.name), self._grantees(db.name)),
        )
        probes = derive_probes(self.trace.statements, usage)

        def probes_of(database: Database) -> list[Probe]:
            return [probe for probe in probes if probe.database == database.name]

        def texts_of(database: Database) -> Iterator[str]:
            for statement in self._statements(database.name):
                yield from (statement.sql, *(work.sql for work in statement.work))

        sizes = await read("table sizes", catalog.relation_sizes)
        catalogs = await read("the catalog", read_live_catalog)
        answers = await read("rows", lambda db: run_probes(db, probes_of(db)))
        blockers = await read("blocking sessions", lambda db: catalog.find_blockers(db, *locks(db.name)))
        rows = await read("row estimates of the planner", lambda db: write_plans(db, texts_of(db)))
        plans = dict(chain.from_iterable(map(dict.items, rows.values())))
        return replace(
            self._common(Mode.LIVE, traced=traced),
            sizes=sizes,
            answers=tuple(chain.from_iterable(answers.values())),
            blockers=blockers,
            usage=usage,
            expected_rows={key: plan.rows for key, plan in plans.items()},
            scanned={key: plan.scanned for key, plan in plans.items()},
            catalogs=catalogs,
        )

    async def collect_offline(self, statistics: Statistics | None, *, traced: bool = True) -> Evidence:
        """Return evidence with the sizes of a file; a table that is not in it counts as large."""
        databases = statistics.databases if statistics else {}
        sizes = {name: database.sizes for name, database in databases.items()}
        catalogs = await self._expected() if traced else {}
        return replace(self._common(Mode.CI, traced=traced), sizes=sizes, catalogs=catalogs)

    def _common(self, mode: Mode, *, traced: bool) -> Evidence:
        settings = self.deployment.settings
        names = {name: self._relations(name) for name in self.plan.databases}
        limits = Limits(settings.safety_rows, settings.safety_bytes)
        strict = [database.name for database in settings.databases.values() if database.profile == _STRICT]
        return Evidence(
            self.trace,
            thresholds=Thresholds(limits, assumed_limits(self.assumptions, names)),
            mode=mode,
            traced=traced,
            relations=load_relations(settings),
            secrets=strict[0] if len(strict) == 1 else None,
            downgrade=any(action.direction is Direction.DOWN for action in self.plan.actions),
        )

    async def _read(self, facts: str, query: Callable[[Database], Awaitable[T]]) -> dict[str, T]:
        """Query all databases at once that have statements; return the answers by database."""
        names = [name for name in self.plan.databases if self._statements(name)]
        databases = (self.deployment.databases[name] for name in names)
        queries = (self._query_or_note(live.name, facts, partial(query, live)) for live in databases)
        answers = zip(names, await asyncio.gather(*queries), strict=True)
        return {name: answer for name, answer in answers if answer is not None}

    async def _query_or_note(self, name: str, facts: str, query: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of a query; if it fails, add a note and return None."""
        try:
            return await query()
        except Interrupted:
            raise
        except MigrateError as error:
            self.notes.append(f"{name}: could not read {facts}: {error.detail or error.message}")
            return None

    async def _expected(self) -> dict[str, Snapshot]:
        from circle_migrate.diff.expected.expected import expected

        catalogs = {}
        for name in self.plan.databases:
            at = self.plan.current[name]
            query = partial(expected, self.deployment, name, at, self.trace.scratch_major)
            catalog = await self._query_or_note(name, "the expected catalog", query)
            if catalog is not None:
                catalogs[name] = catalog.snapshot
        return catalogs

    def _statements(self, name: str) -> list[TracedStatement]:
        return [statement for statement in self.trace.statements if statement.database == name]

    def _grantees(self, name: str) -> frozenset[str]:
        """Return the roles that statements drop, or with privileges on objects whose privileges change."""
        changes = (change for statement in self._statements(name) for change in statement.changes)
        pairs = (
            privileges_by_role({"acl": change.old("acl")}) for change in changes if "acl" in change.fields
        )
        losses = (loss for statement in self._statements(name) for loss in role_losses(statement.sql))
        dropped = (unquote_and_fold(role) for role, *_ in losses)
        return frozenset(role for found in pairs for role, _ in found).union(dropped)

    def _relations(self, name: str) -> frozenset[str]:
        """Return the relations from before the plan that it locks or works on."""
        return frozenset(
            relation
            for statement in self._statements(name)
            for relation in (*statement.locks, *(work.relation for work in statement.work))
        )

    def _locks(self, name: str) -> tuple[dict[str, Lock], frozenset[str]]:
        """Return the strongest lock on each relation, and the relations of concurrent index builds."""
        locks: dict[str, Lock] = {}
        concurrent: set[str] = set()
        for statement in self._statements(name):
            for relation, mode in statement.locks.items():
                locks[relation] = max(mode, locks.get(relation, mode))
            if not statement.transactional and _CONCURRENTLY.search(statement.sql):
                concurrent.update(statement.locks)
        return locks, frozenset(concurrent)


def assumed_limits(
    assumptions: Sequence[SizeAssumption], relations: Mapping[str, Iterable[str]]
) -> dict[str, Limits]:
    """Return the limits by `database@schema.name` of relations with an assumption; the first one decides."""
    return {
        f"{database}@{relation}": _LIMITS[assumption.size]
        for assumption in reversed(assumptions)  # so that the first one replaces the others
        for database, names in relations.items()
        for relation in names
        if assumption.covers(database, relation)
    }
