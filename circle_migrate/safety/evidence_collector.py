"""Collect evidence about a plan from its trace and the live databases, or from a file of statistics."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from circle_migrate.config.assumed_size import AssumedSize, SizeAssumption
from circle_migrate.config.object_reference import load_relations
from circle_migrate.core.errors import Interrupted, MigrateError
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.safety.live_database.record import (
    Answer,
    Blocker,
    InvalidIndex,
    ObjectUsage,
    Probe,
    PublishedTable,
    Size,
)
from circle_migrate.safety.rules.evidence import NEVER, Evidence, Limits, Mode, Thresholds
from circle_migrate.safety.trace.record import Lock, Trace, TracedStatement

if TYPE_CHECKING:
    from circle_migrate.postgres.database import Database
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.revision_graph.plan import Plan
    from circle_migrate.safety.table_statistics import Statistics

_CONCURRENTLY = re.compile(r"\b(?:CREATE\s+(?:UNIQUE\s+)?INDEX|REINDEX\b.*)\s+CONCURRENTLY\b", re.I | re.S)
_STRICT = "strict"
"""The profile of the database that secrets belong to."""

_LIMITS = {AssumedSize.SMALL: NEVER, AssumedSize.LARGE: Limits(0, 0)}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Facts:
    """The facts about one live database."""

    sizes: dict[str, Size]
    catalogue: Snapshot | None
    answers: tuple[Answer, ...]
    blockers: tuple[Blocker, ...]
    published: tuple[PublishedTable, ...]
    invalid: tuple[InvalidIndex, ...]
    rows: dict[int, int]


@dataclass(slots=True)
class EvidenceCollector:
    """Collects the evidence about a plan; `notes` gets the facts that could not be read."""

    deployment: Deployment
    plan: Plan
    trace: Trace
    assumptions: Sequence[SizeAssumption]
    notes: list[str] = field(default_factory=list)

    async def live(self, *, traced: bool = True) -> Evidence:
        """Return evidence with facts from the live databases."""
        from circle_migrate.safety.live_database.catalog import object_usage
        from circle_migrate.safety.live_database.probes import derive_probes

        names = [name for name in self.plan.databases if self._statements(name)]
        queries = [
            self._query_or_note(name, "the catalog", object_usage(self._database(name)), ObjectUsage())
            for name in names
        ]
        usage = dict(zip(names, await asyncio.gather(*queries), strict=True))
        planned = derive_probes(self.trace.statements, usage)
        results = await asyncio.gather(
            *(self._facts(name, [probe for probe in planned if probe.database == name]) for name in names)
        )
        facts = dict(zip(names, results, strict=True))
        return replace(
            self._common(Mode.LIVE, traced=traced),
            sizes={name: fact.sizes for name, fact in facts.items()},
            answers=tuple(answer for fact in facts.values() for answer in fact.answers),
            blockers={name: fact.blockers for name, fact in facts.items()},
            published={name: fact.published for name, fact in facts.items()},
            invalid_indexes={name: fact.invalid for name, fact in facts.items()},
            expected_rows={index: rows for fact in facts.values() for index, rows in fact.rows.items()},
            catalogues={name: fact.catalogue for name, fact in facts.items() if fact.catalogue},
        )

    async def without_databases(self, statistics: Statistics | None, *, traced: bool = True) -> Evidence:
        """Return evidence with the sizes of a file; a table that is not in it counts as large."""
        databases = statistics.databases if statistics else {}
        sizes = {name: database.sizes for name, database in databases.items()}
        catalogues = await self._expected() if traced else {}
        return replace(self._common(Mode.CI, traced=traced), sizes=sizes, catalogues=catalogues)

    def _common(self, mode: Mode, *, traced: bool) -> Evidence:
        settings = self.deployment.settings
        names = {name: self._relations(name) for name in self.plan.databases}
        strict = [database.name for database in settings.databases if database.profile == _STRICT]
        return Evidence(
            self.trace,
            thresholds=Thresholds(
                Limits(settings.safety_rows, settings.safety_bytes), assumed_limits(self.assumptions, names)
            ),
            mode=mode,
            traced=traced,
            relations=load_relations(settings),
            secrets=strict[0] if len(strict) == 1 else None,
        )

    async def _facts(self, name: str, planned: Sequence[Probe]) -> _Facts:
        from circle_migrate.postgres.catalog.read_live import read_live_catalog
        from circle_migrate.safety.live_database.blockers import find_blockers
        from circle_migrate.safety.live_database.catalog import invalid_indexes, published_tables
        from circle_migrate.safety.live_database.query import run_probes
        from circle_migrate.safety.live_database.row_estimates import expected_rows
        from circle_migrate.safety.live_database.sizes import relation_sizes

        database = self._database(name)
        relations = self._relations(name)
        statements = {index: statement.sql for index, statement in self._statements(name).items()}
        query = self._query_or_note
        return _Facts(
            await query(name, "table sizes", relation_sizes(database), {}),
            await query(name, "the catalog", read_live_catalog(database), None),
            await query(name, "rows", run_probes(database, planned), ()),
            await query(name, "blocking sessions", find_blockers(database, *self._locks(name)), ()),
            await query(name, "publications", published_tables(database, relations), ()),
            await query(name, "invalid indexes", invalid_indexes(database, relations), ()),
            await query(name, "row estimates of the planner", expected_rows(database, statements), {}),
        )

    async def _query_or_note(self, name: str, facts: str, query: Awaitable[T], default: T) -> T:
        """Return the result of a query; if it fails, add a note and return the default."""
        try:
            return await query
        except Interrupted:
            raise
        except MigrateError as error:
            self.notes.append(f"{name}: could not read {facts}: {error.detail or error.message}")
            return default

    async def _expected(self) -> dict[str, Snapshot]:
        from circle_migrate.diff.expected.expected import expected

        catalogs = {}
        for name in self.plan.databases:
            query = expected(self.deployment, name, self.plan.current[name], self.trace.scratch_major)
            catalog = await self._query_or_note(name, "the expected catalog", query, None)
            if catalog is not None:
                catalogs[name] = catalog.snapshot
        return catalogs

    def _database(self, name: str) -> Database:
        return self.deployment.databases[name]

    def _statements(self, name: str) -> dict[int, TracedStatement]:
        """Return the statements of a database by their index in the trace."""
        return {
            index: statement
            for index, statement in enumerate(self.trace.statements)
            if statement.database == name
        }

    def _relations(self, name: str) -> frozenset[str]:
        """Return the relations from before the plan that it locks or works on."""
        return frozenset(
            relation
            for statement in self._statements(name).values()
            for relation in (*statement.locks, *(work.relation for work in statement.work))
        )

    def _locks(self, name: str) -> tuple[dict[str, Lock], frozenset[str]]:
        """Return the strongest lock on each relation, and the relations of concurrent index builds."""
        locks: dict[str, Lock] = {}
        concurrent: set[str] = set()
        for statement in self._statements(name).values():
            for relation, mode in statement.locks.items():
                locks[relation] = max(mode, locks.get(relation, mode))
            if not statement.transactional and _CONCURRENTLY.search(statement.sql):
                concurrent.update(statement.locks)
        return locks, frozenset(concurrent)


def assumed_limits(
    assumptions: Sequence[SizeAssumption], relations: Mapping[str, Iterable[str]]
) -> dict[str, Limits]:
    """Return the limits by `database@schema.name` of relations with an assumption; the first one decides."""
    limits = {}
    for database, names in relations.items():
        for relation in names:
            sizes = (assumption.size for assumption in assumptions if assumption.covers(database, relation))
            size = next(sizes, None)
            if size is not None:
                limits[f"{database}@{relation}"] = _LIMITS[size]
    return limits
