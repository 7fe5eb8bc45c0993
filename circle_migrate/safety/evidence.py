"""Evidence about a plan: its trace, and the live databases or a file of statistics."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from circle_migrate.config.assumed_size import SizeAssumption
from circle_migrate.config.load_relations import load_relations
from circle_migrate.core.errors import Interrupted, MigrateError
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.safety.live_database.record import (
    Answer,
    Blocker,
    InvalidIndex,
    ObjectUsage,
    Probe,
    Published,
    Size,
)
from circle_migrate.safety.rules.evidence import Evidence, Limits, Mode, Thresholds
from circle_migrate.safety.table_size import limits
from circle_migrate.safety.trace.record import Lock, Trace, TracedStatement

if TYPE_CHECKING:
    from circle_migrate.postgres.database import Database
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.revision_graph.plan import Plan
    from circle_migrate.safety.table_statistics import Statistics

_CONCURRENTLY = re.compile(r"\b(?:CREATE\s+(?:UNIQUE\s+)?INDEX|REINDEX\b.*)\s+CONCURRENTLY\b", re.I | re.S)
_SECRETIVE = "strict"
"""The profile of the database that secrets belong to."""

T = TypeVar("T")


@dataclass(slots=True)
class _Facts:
    """What one live database said."""

    sizes: dict[str, Size] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    published: tuple[Published, ...] = ()
    invalid: tuple[InvalidIndex, ...] = ()
    rows: dict[int, int] = field(default_factory=dict)
    catalogue: Snapshot | None = None


@dataclass(slots=True)
class EvidenceCollector:
    """Gathers the evidence about one plan; `notes` are told what could not be found out."""

    deployment: Deployment
    plan: Plan
    trace: Trace
    assumptions: Sequence[SizeAssumption]
    notes: list[str] = field(default_factory=list)

    async def live(self, *, traced: bool = True) -> Evidence:
        """With what the live databases say."""
        from circle_migrate.safety.live_database.catalog import object_usage
        from circle_migrate.safety.live_database.probes import probes

        names = [name for name in self.plan.databases if self._statements(name)]
        asked = [
            self._query_or_note(name, "its catalogue", object_usage(self._database(name)), ObjectUsage())
            for name in names
        ]
        known = dict(zip(names, await asyncio.gather(*asked), strict=True))
        questions = probes(self.trace.statements, known)
        facts = dict(
            zip(
                names,
                await asyncio.gather(
                    *(
                        self._facts(name, [probe for probe in questions if probe.database == name])
                        for name in names
                    )
                ),
                strict=True,
            )
        )
        return replace(
            self._common(Mode.LIVE, traced=traced),
            sizes={name: each.sizes for name, each in facts.items()},
            answers=tuple(answer for fact in facts.values() for answer in fact.answers),
            blockers={name: each.blockers for name, each in facts.items()},
            published={name: each.published for name, each in facts.items()},
            invalid_indexes={name: each.invalid for name, each in facts.items()},
            expected_rows={place: rows for fact in facts.values() for place, rows in fact.rows.items()},
            catalogues={name: each.catalogue for name, each in facts.items() if each.catalogue},
        )

    async def without_databases(self, statistics: Statistics | None, *, traced: bool = True) -> Evidence:
        """With the sizes of a file; what it does not have counts as large."""
        sizes = (
            {name: database_stats.sizes for name, database_stats in statistics.databases.items()}
            if statistics
            else {}
        )
        catalogues = await self._expected() if traced else {}
        return replace(self._common(Mode.CI, traced=traced), sizes=sizes, catalogues=catalogues)

    def _common(self, mode: Mode, *, traced: bool) -> Evidence:
        settings = self.deployment.settings
        names = {name: self._relations(name) for name in self.plan.databases}
        strict = [
            database_settings.name
            for database_settings in settings.databases
            if database_settings.profile == _SECRETIVE
        ]
        return Evidence(
            self.trace,
            thresholds=Thresholds(
                Limits(settings.safety_rows, settings.safety_bytes), limits(self.assumptions, names)
            ),
            mode=mode,
            traced=traced,
            relations=load_relations(settings),
            secrets=strict[0] if len(strict) == 1 else None,
        )

    async def _facts(self, name: str, questions: Sequence[Probe]) -> _Facts:
        from circle_migrate.postgres.catalog.read_live import read_live_catalog
        from circle_migrate.safety.live_database.blockers import blockers
        from circle_migrate.safety.live_database.catalog import invalid_indexes, published
        from circle_migrate.safety.live_database.query import run_probes
        from circle_migrate.safety.live_database.row_estimates import expected_rows
        from circle_migrate.safety.live_database.sizes import sizes

        database = self._database(name)
        relations = self._relations(name)
        writing = {place: traced_statement.sql for place, traced_statement in self._statements(name).items()}
        locks, concurrent = self._locks(name)
        facts = _Facts()
        facts.sizes = await self._query_or_note(name, "sizes", sizes(database), {})
        facts.catalogue = await self._query_or_note(name, "its catalogue", read_live_catalog(database), None)
        facts.answers = await self._query_or_note(name, "its rows", run_probes(database, questions), ())
        facts.blockers = await self._query_or_note(
            name, "who holds locks", blockers(database, locks, concurrent), ()
        )
        facts.published = await self._query_or_note(name, "publications", published(database, relations), ())
        facts.invalid = await self._query_or_note(
            name, "invalid indexes", invalid_indexes(database, relations), ()
        )
        facts.rows = await self._query_or_note(name, "the planner", expected_rows(database, writing), {})
        return facts

    async def _query_or_note(self, name: str, what: str, question: Awaitable[T], otherwise: T) -> T:
        """The answer; where there is none, a note of it."""
        try:
            return await question
        except Interrupted:
            raise
        except MigrateError as error:
            self.notes.append(f"{name}: {what} could not be asked: {error.detail or error.message}")
            return otherwise

    async def _expected(self) -> dict[str, Snapshot]:
        from circle_migrate.diff.expected.expected import expected

        found = {}
        for name in self.plan.databases:
            made = expected(self.deployment, name, self.plan.current[name], self.trace.scratch_major)
            answer = await self._query_or_note(name, "its catalogue", made, None)
            if answer is not None:
                found[name] = answer.snapshot
        return found

    def _database(self, name: str) -> Database:
        return self.deployment.databases[name]

    def _statements(self, name: str) -> dict[int, TracedStatement]:
        return {
            place: traced_statement
            for place, traced_statement in enumerate(self.trace.statements)
            if traced_statement.database == name
        }

    def _relations(self, name: str) -> frozenset[str]:
        """Every relation from before the plan that it touches."""
        return frozenset(
            relation
            for statement in self._statements(name).values()
            for relation in (*statement.locks, *(work.relation for work in statement.work))
        )

    def _locks(self, name: str) -> tuple[dict[str, Lock], frozenset[str]]:
        """The strongest lock the plan takes on each relation, and where it builds indexes concurrently."""
        locks: dict[str, Lock] = {}
        concurrent: set[str] = set()
        for statement in self._statements(name).values():
            for relation, mode in statement.locks.items():
                locks[relation] = max(mode, locks.get(relation, mode))
            if not statement.transactional and _CONCURRENTLY.search(statement.sql):
                concurrent.update(statement.locks)
        return locks, frozenset(concurrent)
