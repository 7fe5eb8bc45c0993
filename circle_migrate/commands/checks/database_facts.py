"""Facts about each database for `status`, `check` and `wait`, and findings about unknown revisions."""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, NoReturn

import asyncpg

from circle_migrate.core.errors import ExitCode, MigrateError, TreeError, UnknownRevision, Unreachable
from circle_migrate.core.findings import Finding, Severity, from_error
from circle_migrate.migrate.changed_schema import find_change
from circle_migrate.migrate.contradictions import contradiction_error, edited_revisions, missing_revisions
from circle_migrate.migrate.guards import ensure_not_in_doubt, verify_identity
from circle_migrate.migrate.half_done import half_done, half_done_error
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.journal_rows import AppliedBy, JournalRun
from circle_migrate.postgres.database import Database, State
from circle_migrate.postgres.deployer_lock import IS_DEPLOYER, LockHolder, find_lock_holder
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.journal_tables import UnfinishedStep
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision

# Whether there are any costs the server less than to plan the queries for which.
_FACTS = f"""
SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE {IS_DEPLOYER}) AS is_locked,
       EXISTS (SELECT FROM pg_catalog.pg_index WHERE NOT indisvalid) AS has_invalid, ({{digest}}) AS digest
"""  # noqa: S608 - constants
_INVALID_INDEXES = """
SELECT format('%I.%I on %s', n.nspname, c.relname, i.indrelid::regclass)
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname !~ '^pg_(toast|temp)'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 1
"""


class DatabaseFacts(NamedTuple):
    """Facts about one database, read in one READ ONLY transaction.

    `last_run` is without its steps. `edited` are applied revisions whose file has changed, with a diff. Both
    need a journal. `unknown_revisions` are the current revisions that the tree lacks, with what the journal
    knows about each. If there are any, `applied` are all applied revisions of the journal and the parents of
    those that the tree lacks. `missing` are applied revisions of the journal that the version table lacks,
    `half_done` steps that a run has left half applied or half undone. `changed` says whether the schema was
    changed by hand since the last run. `seconds` is the time that connecting and reading took.
    """

    state: State
    address: str
    holder: LockHolder | None = None
    invalid_indexes: tuple[str, ...] = ()
    last_run: JournalRun | None = None
    edited: tuple[tuple[Revision, str], ...] = ()
    missing: tuple[str, ...] = ()
    half_done: tuple[UnfinishedStep, ...] = ()
    unknown_revisions: Mapping[str, AppliedBy | None] = MappingProxyType({})
    applied: Collection[str] = ()
    changed: bool = False
    seconds: float = 0.0


async def read_facts(database: Database, limit: float | None = None) -> DatabaseFacts:
    """Read the facts of one database in at most `limit` seconds.

    Raises the errors of connecting and reading, and `Unreachable` at the limit.
    """
    started = time.monotonic()
    try:
        async with asyncio.timeout(limit):
            facts = await _read_facts(database)
    except TimeoutError:
        if limit is None:
            raise
        raise Unreachable(
            f"{database.name}: no answer from {database.address.display()} within {limit:.1f} s",
            database=database.name,
            hint="check the address, and whether a session has locked the version table or the journal",
        ) from None
    return facts._replace(seconds=time.monotonic() - started)


async def _read_facts(database: Database) -> DatabaseFacts:
    async with database.reading(wait=False) as connection:
        state = await database.read_state(connection)
        graph, journal = database.graph, Journal(database, state)
        facts = DatabaseFacts(
            state,
            address=database.address.display(),
            unknown_revisions={key: None for key in state.current if key not in graph},
        )
        with journal.reading_as(state.role):
            digest = journal.digest_query if state.journal_of else "NULL"
            row = await connection.fetchrow(_FACTS.format(digest=digest))
            invalid = await connection.fetch(_INVALID_INDEXES) if row["has_invalid"] else ()
            facts = facts._replace(
                holder=await find_lock_holder(connection) if row["is_locked"] else None,
                invalid_indexes=tuple(name for (name,) in invalid),
            )
            if state.journal_of is None:
                return facts
            steps = tuple(half_done(graph, state).values())
            change = await find_change(journal, connection, state, half_done=bool(steps))
            facts = facts._replace(
                missing=await missing_revisions(graph, state, journal, connection),
                half_done=steps,
                last_run=await journal.last_run(connection),
                changed=change is not None and not change.is_undone,
            )
            edited = await edited_revisions(graph, state.current, journal, connection, row["digest"])
            facts = facts._replace(edited=tuple(edited))
            if not facts.unknown_revisions:
                return facts
            applied = frozenset(await journal.checksums(connection))
            parents = await _parents_from_journal(journal, connection, applied - set(graph.revisions))
            known = await journal.applied(connection, list(facts.unknown_revisions))
            return facts._replace(
                applied=applied | parents, unknown_revisions={**facts.unknown_revisions, **known}
            )


async def _parents_from_journal(
    journal: Journal, connection: asyncpg.Connection, revisions: Collection[str]
) -> set[str]:
    """Return the parents of revisions by their source texts in the journal."""
    from circle_migrate.revision_graph.parse_file import read_source

    parents: set[str] = set()
    for key, text in (await journal.sources(connection, revisions)).items():
        with suppress(TreeError):
            revision = read_source(journal.database.name, Path(key), text.encode(), _never_import)
            parents.update(revision.down_revisions)
    return parents


def _never_import(path: Path) -> NoReturn:
    """Refuse to run a text from the journal, even if it computes its ids."""
    raise TreeError(f"{path} does not have a literal down_revision")


async def read_all_facts(
    deployment: Deployment, limit: float | None = None
) -> dict[str, DatabaseFacts | MigrateError]:
    """Read the facts of the selected databases, or return the error of a database that cannot be read.

    Each may take at most `limit` seconds. A changed schema counts as unchanged if it does not differ from its
    revisions. No scratch database is made for that, so only an expected catalog that is stored can tell.
    """
    facts_by_name = await deployment.query_each(deployment.selected, partial(read_facts, limit=limit))
    changed = {
        name: facts
        for name, facts in facts_by_name.items()
        if isinstance(facts, DatabaseFacts) and facts.changed
    }
    if not changed:
        return facts_by_name
    from circle_migrate.commands.diff import diff

    with suppress(MigrateError):
        result = await diff(Deployment(deployment.settings, changed), stored_only=True)
        for comparison in result.comparisons:
            if not comparison.differences:
                name = comparison.database
                facts_by_name[name] = changed[name]._replace(changed=False)
    return facts_by_name


def is_ahead(graph: Graph, facts: DatabaseFacts) -> bool:
    """Return whether the database is at an unknown revision and our heads are applied in its journal."""
    heads = graph.effective_heads
    return bool(facts.unknown_revisions and heads) and all(head in facts.applied for head in heads)


def refusals(deployment: Deployment, facts: DatabaseFacts) -> Iterator[Finding]:
    """Yield what an upgrade of the database would be refused for; only without any it can be advised."""
    state, graph = facts.state, deployment.combined_graph.graphs[facts.state.database]
    for ensure in (partial(verify_identity, deployment), ensure_not_in_doubt):
        try:
            ensure({state.database: state})
        except UnknownRevision as error:
            yield from _unknown_revisions(graph, facts, error)
        except MigrateError as error:
            yield finding_without_state(error)
    if facts.missing:
        yield finding_without_state(contradiction_error(graph, state, facts.missing))
    for step in facts.half_done:
        if step.is_downgrade:
            yield finding_without_state(half_done_error(graph, state, step))


def finding_without_state(error: MigrateError, severity: Severity = Severity.ERROR) -> Finding:
    """Return the error as a finding without its state, which is that of a command that writes."""
    error.state = None
    return from_error(error, severity)


def revision_finding(
    rule: str, severity: Severity, status: ExitCode, revision: Revision, message: str, remedy: str
) -> Finding:
    """Return a finding about a revision, located at its line."""
    name, text = revision.database, f"{revision.database}: {message}"
    return Finding(
        rule, severity, text, status, name, revision.id, remedy, file=revision.path, line=revision.line
    )


def _unknown_revisions(graph: Graph, facts: DatabaseFacts, error: UnknownRevision) -> Iterator[Finding]:
    """Yield a finding for each unknown revision; `error` is the one of planning."""
    name = facts.state.database
    if not facts.unknown_revisions:  # files from it to a squashed revision are gone
        yield finding_without_state(error)
    for key, applied in facts.unknown_revisions.items():
        yield Finding(
            rule=UnknownRevision.code,
            severity=Severity.ERROR,
            message=_message(name, key, applied, ahead=is_ahead(graph, facts)) if applied else error.message,
            status=ExitCode.AHEAD,
            database=name,
            revision=key,
            remedy=_remedy(name, key, applied),
        )


def _message(name: str, key: str, applied: AppliedBy, *, ahead: bool) -> str:
    position = f"{name} is ahead of this package, at {key}" if ahead else f"{name} is at revision {key}"
    return (
        f"{position}, which no revision file has: circle-migrate {applied.tool_version} applied it "
        f"at {applied.at:%F %T} UTC, by {applied.by}"
    )


def _remedy(name: str, key: str, applied: AppliedBy | None) -> str:
    purge = f"if the revision is lost: circle-migrate stamp {name}@REVISION --purge"
    if applied is None:
        return f"install the release that has the revision, which no journal names; {purge}"
    return f"install that release or a newer one; to see its text: circle-migrate log --source {key}; {purge}"
