"""Protected databases, and the guard that refuses to downgrade one.

A database is protected by a setting, by a marker in the database itself, or by both. The option
`--override-protection NAME` permits one command to downgrade it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.migrate.journal_rows import os_user
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.journal_tables import PROTECTION, Protection, ProtectionMarker

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.engine import Connection

    from circle_migrate.config.settings import DatabaseSettings
    from circle_migrate.postgres.database import State
    from circle_migrate.postgres.deployment import Deployment

OPTION = "--override-protection"


def protection(settings: DatabaseSettings, state: State) -> Protection | None:
    """Return how a database is protected, None where it is not."""
    setting = settings.protected_by if settings.protected else None
    return Protection(state.marker, setting) if state.marker or setting else None


class ProtectionGuard:
    """The guard against downgrades, except of `overridden`. Raises `UsageError` for an unknown name."""

    def __init__(self, deployment: Deployment, overridden: Iterable[str] = ()) -> None:
        self.settings = {name: database.settings for name, database in deployment.databases.items()}
        self.overridden = tuple(dict.fromkeys(overridden))
        for name in self.overridden:
            deployment.settings.ensure_database(name)

    def protections(self, states: Mapping[str, State]) -> dict[str, Protection]:
        """Return the protections of the protected databases."""
        protections = {name: protection(self.settings[name], state) for name, state in states.items()}
        return {name: protection for name, protection in protections.items() if protection}

    def check_override_names(self, states: Mapping[str, State]) -> None:
        """Raise `Refused` for a named database that is not protected: the name may be a mistake."""
        protected = self.protections(states)
        for name in self.overridden:
            if name not in protected:
                names = ", ".join(protected)
                reason = "is not protected" if name in states else "is not part of this command"
                raise Refused(
                    f"{OPTION} {name}: {name} {reason}",
                    database=name,
                    hint=f"leave out {OPTION} {name}; "
                    + (f"protected here: {names}" if names else "no database here is protected"),
                )

    def ensure_unprotected(self, states: Mapping[str, State], databases: Iterable[str]) -> None:
        """Raise `Refused` where one of the databases is protected and not overridden."""
        protected = self.protections(states)
        refused = [name for name in databases if name in protected and name not in self.overridden]
        if refused:
            raise Refused(
                "; ".join(f"{name} is protected {protected[name].description}" for name in refused),
                database=refused[0] if len(refused) == 1 else None,
                hint="to run the command nevertheless, add "
                + " ".join(f"{OPTION} {name}" for name in refused),
            )

    def protection_notes(self, states: Mapping[str, State], databases: Iterable[str]) -> tuple[str, ...]:
        """Return what a dry run says about the protected databases."""
        protected = self.protections(states)
        return tuple(
            f"{name} is protected {protected[name].description}; "
            + ("overridden" if name in self.overridden else f"to run this, add {OPTION} {name}")
            for name in databases
            if name in protected
        )

    def notes(self, states: Mapping[str, State], databases: Iterable[str]) -> dict[str, object]:
        """Return the overridden protections for the journal."""
        protected = self.protections(states)
        overridden = {name: protected[name].to_dict() for name in databases if name in protected}
        return {"protection_overridden": overridden} if overridden else {}


_CREATE = (
    """
CREATE TABLE IF NOT EXISTS {table} (
    protected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    db_role text NOT NULL DEFAULT current_user,
    os_user text NOT NULL,
    host text NOT NULL,
    reason text
)
""",
    "COMMENT ON TABLE {table} IS 'circle-migrate: a row here protects this database against downgrades'",
    "GRANT SELECT ON {table} TO PUBLIC",
)


def _table(schema: str) -> str:
    """Return the marker's table, in the schema of the journal, as SQL."""
    return f"{quote(schema)}.{PROTECTION}"


def write_marker(connection: Connection, schema: str, reason: str | None) -> None:
    """Write the marker; a marker that exists is replaced."""
    table = _table(schema)
    for statement in _CREATE:
        connection.exec_driver_sql(statement.format(table=table))
    remove_marker(connection, schema)
    insert = f"INSERT INTO {table} (os_user, host, reason) VALUES ($1, $2, $3)"
    connection.exec_driver_sql(insert, (os_user(), socket.gethostname(), reason))


def remove_marker(connection: Connection, schema: str) -> None:
    """Remove the marker."""
    connection.exec_driver_sql(f"DELETE FROM {_table(schema)}")


async def copy_marker(connection: asyncpg.Connection, schema: str, marker: ProtectionMarker) -> None:
    """Write a marker as it was in another database."""
    table = _table(schema)
    async with connection.transaction():
        for statement in _CREATE:
            await connection.execute(statement.format(table=table))
        await connection.execute(
            f"INSERT INTO {table} (protected_at, db_role, os_user, host, reason) VALUES ($1, $2, $3, $4, $5)",
            *(marker.since, marker.role, marker.os_user, marker.host, marker.reason),
        )
