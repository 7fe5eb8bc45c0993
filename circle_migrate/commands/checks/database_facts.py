"""What a database says about itself beyond its revisions: locks, invalid indexes, the last run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from circle_migrate.core.errors import CircleError, TreeError
from circle_migrate.migrate.edited_files import edited
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.journal_entry import Applied, RunEntry
from circle_migrate.postgres.database import Database, State
from circle_migrate.postgres.deployer_lock import Holder, holder
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


class Facts(NamedTuple):
    """One database, read in one READ ONLY transaction.

    `edited` are applied revisions whose file has changed since, with a diff; empty, like `last_run` (which
    comes without its steps), where there is no journal. `strangers` are the current revisions that the tree
    lacks, each with what the journal says of it, None where that is nothing; where there are any, `applied`
    are all that the journal says are applied, and what those of them follow that the tree lacks. `changed`
    says whether the schema is another one than the last run left, None where that cannot be known.
    """

    state: State
    address: str
    holder: Holder | None = None
    invalid_indexes: tuple[str, ...] = ()
    last_run: RunEntry | None = None
    edited: tuple[tuple[Revision, str], ...] = ()
    strangers: Mapping[str, Applied | None] = MappingProxyType({})
    applied: Collection[str] = ()
    changed: bool | None = None


async def read_facts(database: Database) -> Facts:
    """The facts of one database. Raises the errors of connecting and reading."""
    async with database.reading() as connection:
        state = await database.read_state(connection)
        journal = Journal(database, state.schema)
        with journal.read_by(state.role):
            held_by = await holder(connection)
            invalid = tuple(row["index"] for row in await connection.fetch(_INVALID))
            last, edits, applied, changed, files = None, [], frozenset[str](), None, None
            if state.journal_of is not None:
                last = await journal.last_run(connection)
                changed = await _changed(journal, connection, state)
                files = await journal.digest(connection)
            graph = database.graph
            strangers: dict[str, Applied | None] = {key: None for key in state.current if key not in graph}
            if files is not None:
                edits = await edited(graph, state.current, journal, connection, files)
                if strangers:
                    applied = frozenset(await journal.checksums(connection))
                    applied |= await _followed(journal, connection, applied - set(graph.revisions))
                    strangers |= await journal.applied(connection, list(strangers))
    return Facts(
        state,
        address=database.address.display(),
        holder=held_by,
        invalid_indexes=invalid,
        last_run=last,
        edited=tuple(edits),
        strangers=strangers,
        applied=applied,
        changed=changed,
    )


async def _followed(
    journal: Journal, connection: asyncpg.Connection, revisions: Collection[str]
) -> frozenset[str]:
    """What these revisions came after: applied before them, if not by a run that is in the journal."""
    from pathlib import Path

    from circle_migrate.revision_graph.parse_file import read_source

    followed: set[str] = set()
    for key, text in (await journal.texts(connection, revisions)).items():
        with suppress(TreeError):
            followed.update(read_source(journal.database.name, Path(key), text.encode(), _not_run).down)
    return frozenset(followed)


def _not_run(path: Path) -> NoReturn:
    """A text out of a journal is read and never run, not even where its ids are computed."""
    raise TreeError(f"{path} does not say what it follows")


async def _changed(journal: Journal, connection: asyncpg.Connection, state: State) -> bool | None:
    recorded = await journal.last_mark(connection)
    if recorded is None:
        return None
    from circle_migrate.postgres.catalog.fingerprint import changed, mark

    return changed(recorded, await mark(connection, state, state.current))


async def survey(deployment: Deployment, names: Iterable[str]) -> dict[str, Facts | CircleError]:
    """The facts of each database or why it could not be read; all are asked at once."""
    return await deployment.answers(names, read_facts)
