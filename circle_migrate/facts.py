"""What a database says about itself beyond its revisions: locks, invalid indexes, the last run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from circle_migrate.core.runs import RunEntry
from circle_migrate.database import Database, State
from circle_migrate.deployment import Deployment
from circle_migrate.errors import CircleError
from circle_migrate.faults import statement_fault
from circle_migrate.journal import Journal
from circle_migrate.locks import Holder, holder

_INVALID = """
SELECT format('%I.%I on %s', n.nspname, c.relname, i.indrelid::regclass) AS index
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname !~ '^pg_(toast|temp)'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """One database, read in one READ ONLY transaction.

    `applied_files` has the checksum and source with which each revision was last applied; empty, like
    `last_run`, where there is no journal or it may not be read.
    """

    state: State
    address: str
    holder: Holder | None = None
    invalid_indexes: tuple[str, ...] = ()
    last_run: RunEntry | None = None
    applied_files: Mapping[str, tuple[str, str]] = field(default_factory=dict)


async def read_facts(database: Database) -> Facts:
    """The facts of one database. Raises the errors of connecting and reading."""
    async with database.reading() as connection:
        state = await database.read_state(connection)
        try:
            held_by = await holder(connection)
            invalid = tuple(row["index"] for row in await connection.fetch(_INVALID))
            last, files = None, {}
            journal = Journal(database, state.schema)
            if state.journal_of is not None:
                runs = await journal.read(connection, 1)
                last, files = (runs[0] if runs else None), await journal.checksums(connection)
        except Exception as error:
            fault: CircleError | None = statement_fault(error, database.name, "read the journal")
            if fault is None:
                raise
            fault.hint = f'GRANT SELECT ON {journal.runs}, {journal.steps} TO "{state.role}";'
            raise fault from error
    return Facts(state, database.address.display(), held_by, invalid, last, files)


async def survey(deployment: Deployment, names: Iterable[str]) -> dict[str, Facts | CircleError]:
    """The facts of each database or why it could not be read; all are asked at once."""

    async def one(name: str) -> Facts | CircleError:
        try:
            return await read_facts(deployment.databases[name])
        except CircleError as error:
            return error

    asked = tuple(names)
    for name in asked:
        _ = deployment.databases[name].address  # a missing URL is said before any server is asked
    answers = await asyncio.gather(*(one(name) for name in asked))
    return dict(zip(asked, answers, strict=True))
