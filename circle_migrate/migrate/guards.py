"""Checks of the state of a database before a run changes anything."""

from __future__ import annotations

from collections.abc import Mapping

from circle_migrate.core.errors import InDoubt, LockNotObtained, MigrateError, MigrationFailed, NotWritable
from circle_migrate.postgres.database import State
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.server_errors import (
    LOCK_NOT_AVAILABLE,
    privilege_hint,
    server_message,
    sqlstate,
    statement_error,
)


def ensure_not_in_doubt(states: Mapping[str, State]) -> None:
    """Raise `InDoubt` where a transaction that a run has prepared is neither committed nor rolled back."""
    for state in states.values():
        if state.in_doubt:
            raise InDoubt(
                f"{state.database}: a run ended during its commit and left {len(state.in_doubt)} prepared "
                f"transaction{'s' if len(state.in_doubt) > 1 else ''}, whose locks are still held",
                database=state.database,
                detail=", ".join(state.in_doubt),
                state="nothing was changed",
                hint="type `circle-migrate recover`",
            )


def ensure_writable(state: State) -> None:
    """Raise `NotWritable` for a standby and for a read-only server, database or role."""
    if state.standby:
        raise NotWritable(
            f"{state.database}: the server is a standby",
            database=state.database,
            state="nothing was changed",
            hint="give the URL of the primary, or add target_session_attrs=read-write to the URL",
        )
    if state.read_only:
        raise NotWritable(
            f"{state.database}: the server, database or role is set to read-only "
            "(default_transaction_read_only)",
            database=state.database,
            state="nothing was changed",
            hint=f'run ALTER DATABASE "{state.name}" RESET default_transaction_read_only; '
            "or the same with ALTER ROLE",
        )


def journal_error(state: State, schema: str, error: Exception) -> MigrateError:
    """Return the error for a journal whose tables cannot be created, moved to its `schema` or written."""
    message = server_message(error)
    failure = statement_error(error, state.database, "write the journal")
    if failure is None:
        blocked = sqlstate(error) == LOCK_NOT_AVAILABLE
        return (LockNotObtained if blocked else MigrationFailed)(
            f"{state.database}: the journal cannot be written",
            database=state.database,
            detail=message,
            hint="another session uses its tables, perhaps a backup: try again after it" if blocked else None,
        )
    failure.state = "nothing was changed"
    failure.hint = privilege_hint(message, state.role, schema=quote(schema))
    if "permission denied for database" in message:
        create = f"CREATE SCHEMA {quote(schema)} AUTHORIZATION {quote(state.role)};"
        failure.hint = f"as a superuser, in the database {state.name}: {create} or {failure.hint}"
    return failure
