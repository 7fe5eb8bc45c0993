"""The examples of all hazards as projects whose revisions can be planned, run and checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.parse_file import read_revision
from circle_migrate.revision_graph.plan import Plan, TransactionMode, plan_upgrade
from circle_migrate.safety.hazards.hazard import HAZARDS, ExampleRevision, Hazard
from tests.servers import NAMES, Databases

_HEADER = '''"""{title}"""

revision = {key!r}
down_revision = {down!r}
branch_labels = None
depends_on = None
requires = {requires!r}

{source}'''

_EMPTY = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT quote_ident(pubname) FROM pg_publication LOOP
        EXECUTE 'DROP PUBLICATION ' || name;
    END LOOP;
    FOR name IN
        SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'
    LOOP
        EXECUTE 'DROP SCHEMA ' || name || ' CASCADE';
    END LOOP;
END $$;
CREATE SCHEMA public;
"""


@dataclass(frozen=True)
class Case:
    """The bad or the good example of a hazard."""

    hazard: Hazard
    name: str

    @property
    def revisions(self) -> tuple[ExampleRevision, ...]:
        """The revisions in the order in which they run."""
        return self.hazard.bad if self.name == "bad" else self.hazard.good

    @property
    def fails(self) -> str:
        """The error of the last revision, empty if it succeeds."""
        return self.revisions[-1].fails

    def __str__(self) -> str:
        return f"{self.hazard.id}-{self.name}"


CASES = tuple(Case(hazard, name) for hazard in HAZARDS.values() for name in ("bad", "good"))


def database_of(revision: ExampleRevision) -> str:
    """Return the database of an example's revision."""
    return NAMES[revision.second_database]


def write(case: Case, folders: dict[str, Path]) -> None:
    """Write the case's revision files, `r1.py` first, into the folders of their databases."""
    last: dict[str, str] = {}
    before = ""
    for number, revision in enumerate(case.revisions, 1):
        key, database = f"r{number}", database_of(revision)
        text = _HEADER.format(
            title=case.hazard.title,
            key=key,
            down=last.get(database),
            requires=before if revision.requires_previous else None,
            source=revision.source,
        )
        (folders[database] / f"{key}.py").write_text(text, encoding="utf-8")
        last[database], before = key, f"{database}@{key}"


def combined_graph(folders: dict[str, Path]) -> CombinedGraph:
    """Return the graphs of written cases."""
    return CombinedGraph(
        {
            name: Graph(name, (read_revision(name, path) for path in sorted(folder.glob("*.py"))))
            for name, folder in folders.items()
        }
    )


def plan(case: Case, trees: CombinedGraph) -> Plan:
    """Return the plan of the whole case, with its transactions."""
    transaction_mode = TransactionMode.ALL if case.hazard.one_transaction else TransactionMode.PER_REVISION
    wanted = {name: set(graph.revisions) for name, graph in trees.graphs.items()}
    return plan_upgrade(trees, dict.fromkeys(trees.graphs, ()), wanted, transaction_mode)


@asynccontextmanager
async def prepared(case: Case, databases: Databases) -> AsyncIterator[None]:
    """Prepare databases with only the case's setup, and the open transaction of another session."""
    for name in NAMES:
        async with databases.connect(name) as connection:
            await connection.execute(_EMPTY)
            if name == NAMES[0]:
                await connection.execute(case.hazard.setup)
            for revision in case.revisions:
                if revision.setup and database_of(revision) == name:
                    await connection.execute(revision.setup)
    first = case.revisions[0]
    async with databases.connect(database_of(first)) as connection:
        transaction = connection.transaction()
        await transaction.start()
        if first.meanwhile:
            await connection.execute(first.meanwhile)
        yield
        await transaction.rollback()


def connection_of(connection: Any) -> asyncpg.Connection:
    """Return the asyncpg connection of a SQLAlchemy connection."""
    return connection.connection.driver_connection
