"""What a database says about itself beyond its revisions: locks, invalid indexes, the last run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from circle_migrate.core.errors import MigrateError, TreeError
from circle_migrate.migrate.edited_files import edited_revisions
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.journal_entry import AppliedBy, JournalRun
from circle_migrate.postgres.database import Database, State
from circle_migrate.postgres.deployer_lock import LockHolder, find_lock_holder
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.revision import Revision

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

_INVALID = """
SELECT format('%I.%I on %s', n.nspname, c.relname, i.indrelid::regclass) AS index
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname !~ '^pg_(toast|temp)'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 1
"""


class DatabaseFacts(NamedTuple):
    """One database, read in one READ ONLY transaction.

    `edited` are applied revisions whose file has changed since, with a diff; empty, like `last_run` (which
    comes without its steps), where there is no journal. `strangers` are the current revisions that the tree
    lacks, each with what the journal says of it, None where that is nothing; where there are any, `applied`
    are all that the journal says are applied, and what those of them follow that the tree lacks. `changed`
    says whether the schema is another one than the last run left, None where that cannot be known.
    """

    state: State
    address: str
    holder: LockHolder | None = None
    invalid_indexes: tuple[str, ...] = ()
    last_run: JournalRun | None = None
    edited: tuple[tuple[Revision, str], ...] = ()
    unknown_revisions: Mapping[str, AppliedBy | None] = MappingProxyType({})
    applied: Collection[str] = ()
    changed: bool | None = None


async def read_facts(database: Database) -> DatabaseFacts:
    """The facts of one database. Raises the errors of connecting and reading."""
    async with database.reading() as connection:
        state = await database.read_state(connection)
        journal = Journal(database, state.schema)
        with journal.reading_as(state.role):
            held_by = await find_lock_holder(connection)
            invalid = tuple(row["index"] for row in await connection.fetch(_INVALID))
            last, edits, applied, changed, files = None, [], frozenset[str](), None, None
            if state.journal_of is not None:
                last = await journal.last_run(connection)
                changed = await _changed(journal, connection, state)
                files = await journal.digest(connection)
            graph = database.graph
            strangers: dict[str, AppliedBy | None] = {key: None for key in state.current if key not in graph}
            if files is not None:
                edits = await edited_revisions(graph, state.current, journal, connection, files)
                if strangers:
                    applied = frozenset(await journal.checksums(connection))
                    applied |= await _parents_from_journal(
                        journal, connection, applied - set(graph.revisions)
                    )
                    strangers |= await journal.applied(connection, list(strangers))
    return DatabaseFacts(
        state,
        address=database.address.display(),
        holder=held_by,
        invalid_indexes=invalid,
        last_run=last,
        edited=tuple(edits),
        unknown_revisions=strangers,
        applied=applied,
        changed=changed,
    )


async def _parents_from_journal(
    journal: Journal, connection: asyncpg.Connection, revisions: Collection[str]
) -> frozenset[str]:
    """What these revisions came after: applied before them, if not by a run that is in the journal."""
    from pathlib import Path

    from circle_migrate.revision_graph.parse_file import read_source

    followed: set[str] = set()
    for key, text in (await journal.sources(connection, revisions)).items():
        with suppress(TreeError):
            followed.update(
                read_source(journal.database.name, Path(key), text.encode(), _never_import).down_revisions
            )
    return frozenset(followed)


def _never_import(path: Path) -> NoReturn:
    """A text out of a journal is read and never run, not even where its ids are computed."""
    raise TreeError(f"{path} does not say what it follows")


async def _changed(journal: Journal, connection: asyncpg.Connection, state: State) -> bool | None:
    recorded = await journal.last_fingerprint(connection)
    if recorded is None:
        return None
    from circle_migrate.postgres.catalog.fingerprint import has_changed, schema_fingerprint

    return has_changed(recorded, await schema_fingerprint(connection, state, state.current))


async def read_all_facts(
    deployment: Deployment, names: Iterable[str]
) -> dict[str, DatabaseFacts | MigrateError]:
    """The facts of each database or why it could not be read; all are asked at once."""
    return await deployment.query_each(names, read_facts)
