"""Checks of databases before a run changes anything: their state, their identity, and who owns our tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from circle_migrate.core import errors
from circle_migrate.core.counted import counted
from circle_migrate.postgres import server_errors
from circle_migrate.postgres.database import State
from circle_migrate.postgres.identifier import literal, quote

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.revision_graph.combined_graph import CombinedGraph
    from circle_migrate.revision_graph.graph import Graph


def ensure_not_in_doubt(states: Mapping[str, State]) -> None:
    """Raise `InDoubt` where a transaction that a run has prepared is neither committed nor rolled back."""
    for state in states.values():
        if state.in_doubt:
            raise errors.InDoubt(
                f"{state.database}: a run ended during its commit and left "
                f"{counted(len(state.in_doubt), 'prepared transaction')}, whose locks are still held",
                database=state.database,
                detail=", ".join(state.in_doubt),
                state="nothing was changed",
                hint="type `circle-migrate recover`",
            )


def describe_not_ours(database: str, gid: str) -> str:
    """Return what is known of a prepared transaction that only has our prefix."""
    return f"{database}: prepared transaction {gid} has our prefix, but no run in the journal prepared it"


def ensure_writable(state: State) -> None:
    """Raise `NotWritable` for a standby and for a read-only server, database or role."""
    if state.standby:
        reason = "the server is a standby"
        hint = "give the URL of the primary, or add target_session_attrs=read-write to the URL"
    elif state.read_only:
        reason = "the server, database or role is set to read-only (default_transaction_read_only)"
        reset = f'ALTER DATABASE "{state.name}" RESET default_transaction_read_only;'
        hint = f"run {reset} or the same with ALTER ROLE"
    else:
        return
    message = f"{state.database}: {reason}"
    raise errors.NotWritable(message, database=state.database, state="nothing was changed", hint=hint)


def journal_error(state: State, error: Exception, *, is_lost: bool) -> errors.MigrateError:
    """Return the error for a journal whose tables cannot be created, moved or written."""
    message = server_errors.server_message(error)
    failure = server_errors.statement_error(error, state.database, "write the journal")
    if failure is None:
        kind: type[errors.MigrateError] = errors.Unreachable if is_lost else errors.MigrationFailed
        hint = server_errors.AFTER_LOSS if is_lost else None
        if not is_lost and server_errors.sqlstate(error) == server_errors.LOCK_NOT_AVAILABLE:
            kind = errors.LockNotObtained
            hint = "another session uses its tables, perhaps a backup: try again after it"
        text = f"{state.database}: the journal cannot be written"
        return kind(text, database=state.database, detail=message, state="no step has run", hint=hint)
    failure.state = "nothing was changed"
    schema = quote(state.journal_schema)
    failure.hint = server_errors.privilege_hint(message, state.role, schema=schema)
    if "permission denied for database" in message:
        create = f"CREATE SCHEMA {schema} AUTHORIZATION {quote(state.role)};"
        failure.hint = f"as a superuser, in the database {state.name}: {create} or {failure.hint}"
    return failure


_COMPARE_URLS = "the URLs may be swapped: compare them with `circle-migrate config show`"


def verify_identity(deployment: Deployment, states: Mapping[str, State]) -> dict[str, tuple[str, ...]]:
    """Return the current revisions of the databases after checking who they are.

    Raises `WrongDatabase` where two databases are the same or a current revision belongs to another tree,
    `UnknownRevision` where no tree has it, or the files from it to a squashed revision are gone, `Refused`
    where the version table has more rows than it should, or cannot hold an id.
    """
    ensure_distinct(states)
    for state in states.values():
        if state.journal_of not in (None, state.database):
            hint, schema = _COMPARE_URLS, quote(state.journal_schema)
            if state.journal_of not in deployment.databases:
                rename = f"UPDATE {schema}.runs SET database = {literal(state.database)};"  # noqa: S608
                hint += f"\nif {state.database} is the new name of {state.journal_of}, run in it: {rename}"
            raise errors.WrongDatabase(
                f"the URL of {state.database} leads to a database that was migrated as {state.journal_of}",
                database=state.database,
                detail=f"the journal in {state.name} has the name {state.journal_of}",
                hint=hint,
            )
        _ensure_known_revisions(deployment.combined_graph, state)
    return {name: state.current for name, state in states.items()}


def ensure_distinct(states: Mapping[str, State]) -> None:
    """Raise `WrongDatabase` where two names lead to one database."""
    names: dict[tuple[int, int], str] = {}
    for name, state in states.items():
        if state.identity is None:
            continue
        first = names.setdefault(state.identity, name)
        if first != name:
            raise errors.WrongDatabase(
                f"{first} and {name} are the same database: {state.name}",
                database=name,
                hint="give every database its own URL; to see its source: circle-migrate config show",
            )


def ensure_not_swapped(deployment: Deployment, states: Mapping[str, State]) -> None:
    """Raise `WrongDatabase` for a revision or journal of another database; unknown revisions are accepted."""
    for name, state in states.items():
        try:
            verify_identity(deployment, {name: state})
        except errors.WrongDatabase:
            raise
        except (errors.Refused, errors.UnknownRevision):
            continue


def _ensure_known_revisions(combined_graph: CombinedGraph, state: State) -> None:
    graph = combined_graph.graphs[state.database]
    for key in state.current:
        if key not in graph:
            raise _unknown_revision_error(combined_graph, key, state)
    if unfinished := graph.squashes.unfinished(state.current):
        from circle_migrate.revision_graph.action import missing_file_error

        raise missing_file_error(graph, unfinished, is_current=True)
    if set(state.current) == set(graph.effective_heads):
        return
    if state.id_length is not None and len(graph.longest_id) > state.id_length:
        raise _long_id_error(graph, state)
    rows = graph.version_rows(graph.ancestors(state.current))
    if sorted(rows) != sorted(state.current):
        raise errors.Refused(
            f"{state.database}: the version table has {', '.join(state.current)}, "
            f"but {', '.join(rows)} includes the rest",
            database=state.database,
            hint="if the schema is really at that revision, type "
            f"`circle-migrate stamp {' '.join(rows)} --purge`",
        )


def _long_id_error(graph: Graph, state: State) -> errors.Refused:
    key = graph.longest_id
    table = f"{quote(state.schema)}.{quote(state.version_table)}"
    return errors.Refused(
        f"{state.database}: revision id {key} has {len(key)} characters; "
        f"version_num of {table} holds {state.id_length}",
        database=state.database,
        location=graph[key].location,
        hint=f"ALTER TABLE {table} ALTER COLUMN version_num TYPE varchar(255);",
    )


def _unknown_revision_error(combined_graph: CombinedGraph, key: str, state: State) -> errors.MigrateError:
    for name, graph in combined_graph.graphs.items():
        if key in graph:
            message = f"{state.database} is at revision {key} of {name}"
            return errors.WrongDatabase(message, database=state.database, hint=_COMPARE_URLS)
    return errors.UnknownRevision(
        f"{state.database} is at revision {key}, which no revision file has: a newer release was here, or "
        "the revision is on another branch, or its file was deleted, or it is another application's database",
        database=state.database,
        hint="install the release that has the revision"
        + (f"; if a run here has applied it: `circle-migrate log --source {key}`" if state.journal_of else "")
        + f"; if the file is lost, type `circle-migrate stamp {state.database}@REVISION --purge`",
    )


def ensure_own_tables(states: Mapping[str, State], *, reading: bool = False) -> None:
    """Raise `Refused` for a table of ours that another role made, or that runs code when it is written.

    With `reading`, a database of which the role may write nothing is left out: it does not run upgrades.
    """
    for state in states.values():
        if state.unsafe_table and not (reading and state.reads_only):
            raise state.unsafe_table.error(state.database, state.role, state.journal_schema)
