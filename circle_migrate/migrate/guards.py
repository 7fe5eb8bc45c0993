"""What stops a run before it touches anything: the state a database is in."""

from __future__ import annotations

from collections.abc import Mapping

from circle_migrate.core.errors import InDoubt, MigrateError, MigrationFailed, NotWritable
from circle_migrate.postgres.database import State
from circle_migrate.postgres.server_errors import privilege_hint, server_message, statement_error


def ensure_not_in_doubt(states: Mapping[str, State]) -> None:
    """Raise `InDoubt` where a prepared transaction of ours waits for its outcome."""
    for state in states.values():
        if state.in_doubt:
            raise InDoubt(
                f"{state.database}: a run was cut off in its commit; {len(state.in_doubt)} prepared "
                "transaction of ours waits for its outcome and keeps its locks",
                database=state.database,
                detail=", ".join(state.in_doubt),
                state="nothing was changed now",
                hint="type `circle-migrate recover`",
            )


def ensure_writable(state: State) -> None:
    """Raise `NotWritable` for a standby or a read-only server, before anything is tried on it."""
    if state.standby:
        raise NotWritable(
            f"{state.database}: the server is a standby",
            database=state.database,
            state="nothing was changed",
            hint="give the URL of the primary, or add target_session_attrs=read-write to it",
        )
    if state.read_only:
        raise NotWritable(
            f"{state.database}: the server, database or role is set to read-only "
            "(default_transaction_read_only)",
            database=state.database,
            state="nothing was changed",
            hint=f'ALTER DATABASE "{state.name}" RESET default_transaction_read_only; or ALTER ROLE alike',
        )


def journal_error(state: State, error: Exception) -> MigrateError:
    """The error where the journal's tables cannot be made or written."""
    name = state.database
    fault = statement_error(error, name, "write the journal")
    if fault is None:
        return MigrationFailed(
            f"{name}: the journal cannot be written", database=name, detail=server_message(error)
        )
    fault.state = "nothing was changed"
    fault.hint = privilege_hint(server_message(error), state.role)
    return fault
