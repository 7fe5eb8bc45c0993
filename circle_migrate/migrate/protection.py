"""Protected databases: which they are, and the guard that keeps a run from moving one of them back.

A database is protected by a setting, by a marker in the database itself, or by both. Moving it back anyway
takes its name, each time: `--override-protection NAME`.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.migrate.journal import os_user
from circle_migrate.postgres.database import PROTECTION
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.protection_marker import ProtectionMarker

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.deployment import Deployment

from collections.abc import Iterable
from typing import TYPE_CHECKING

from circle_migrate.core.errors import UsageError
from circle_migrate.postgres.protection_marker import Protection

if TYPE_CHECKING:
    from circle_migrate.config.settings import DatabaseSettings
    from circle_migrate.postgres.database import State
    from circle_migrate.postgres.deployment import Deployment

OPTION = "--override-protection"


def protection(settings: DatabaseSettings, state: State) -> Protection | None:
    """How a database is protected, None where it is not."""
    setting = settings.protected_by if settings.protected else None
    return Protection(state.marker, setting) if state.marker or setting else None


class ProtectionGuard:
    """Refuses what would move protected databases back, but for those that were named.

    Raises `UsageError` for a name that is no database's.
    """

    def __init__(self, deployment: Deployment, overridden: Iterable[str] = ()) -> None:
        self.settings = {name: database.settings for name, database in deployment.databases.items()}
        self.overridden = tuple(dict.fromkeys(overridden))
        for name in self.overridden:
            if name not in self.settings:
                raise UsageError(
                    f"there is no database {name!r}", hint="databases: " + ", ".join(self.settings)
                )

    def protections(self, states: Mapping[str, State]) -> dict[str, Protection]:
        """The protected ones of these databases."""
        found = {name: protection(self.settings[name], state) for name, state in states.items()}
        return {name: each for name, each in found.items() if each}

    def check_override_names(self, states: Mapping[str, State]) -> None:
        """Raise `Refused` for a name whose database is not protected: another one may have been meant."""
        protected = self.protections(states)
        for name in self.overridden:
            if name not in protected:
                others = ", ".join(protected) or "none"
                raise Refused(
                    f"{OPTION} {name}: "
                    + (f"{name} is not protected" if name in states else f"this does not concern {name}"),
                    database=name,
                    state="nothing was changed",
                    hint=f"protected databases that this concerns: {others}; leave out what is not needed",
                )

    def ensure_unprotected(self, states: Mapping[str, State], databases: Iterable[str]) -> None:
        """Raise `Refused` where one of the databases is protected, and was not named."""
        protected = self.protections(states)
        stopping = [name for name in databases if name in protected and name not in self.overridden]
        if stopping:
            raise Refused(
                "; ".join(f"{name} is protected {protected[name].description}" for name in stopping),
                database=stopping[0] if len(stopping) == 1 else None,
                state="nothing was changed",
                hint="if it has to be, add " + " ".join(f"{OPTION} {name}" for name in stopping),
            )

    def protection_notes(self, states: Mapping[str, State], databases: Iterable[str]) -> tuple[str, ...]:
        """What a run that changes nothing says about those of the databases that are protected."""
        protected = self.protections(states)
        return tuple(
            f"{name} is protected {protected[name].description}"
            + ("; overridden" if name in self.overridden else f"; to run this takes {OPTION} {name}")
            for name in databases
            if name in protected
        )

    def notes(self, states: Mapping[str, State], databases: Iterable[str]) -> dict[str, object]:
        """What the journal keeps of the protection that was overridden."""
        protected = self.protections(states)
        found = {name: protected[name].to_dict() for name in databases if name in protected}
        return {"protection_overridden": found} if found else {}


_WRITE = (
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


_CLEAR = "DELETE FROM {table}"


_MARK = "INSERT INTO {table} (os_user, host, reason) VALUES ($1, $2, $3)"


_CARRY = """
INSERT INTO {table} (protected_at, db_role, os_user, host, reason) VALUES ($1, $2, $3, $4, $5)
"""


def _table(schema: str) -> str:
    """The marker's table in SQL, in the schema of the version table."""
    return f"{quote(schema)}.{quote(PROTECTION)}"


def mark(connection: Connection, schema: str, reason: str | None) -> None:
    """Write the marker in place of what is there."""
    for statement in (*_WRITE, _CLEAR):
        connection.exec_driver_sql(statement.format(table=_table(schema)))
    connection.exec_driver_sql(_MARK.format(table=_table(schema)), (os_user(), socket.gethostname(), reason))


def unmark(connection: Connection, schema: str) -> None:
    """Remove the marker."""
    connection.exec_driver_sql(_CLEAR.format(table=_table(schema)))


async def carry(connection: asyncpg.Connection, schema: str, marker: ProtectionMarker) -> None:
    """Write a marker as it was in another database."""
    async with connection.transaction():
        for statement in _WRITE:
            await connection.execute(statement.format(table=_table(schema)))
        values = (marker.since, marker.role, marker.os_user, marker.host, marker.reason)
        await connection.execute(_CARRY.format(table=_table(schema)), *values)
