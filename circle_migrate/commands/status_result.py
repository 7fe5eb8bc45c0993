"""The result of `status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from circle_migrate.core.errors import MigrateError
from circle_migrate.core.findings import Report
from circle_migrate.migrate.journal_entry import JournalRun
from circle_migrate.postgres.protection_marker import Protection
from circle_migrate.revision_graph.revision import Revision


class DatabaseStatus(NamedTuple):
    """The state of one database; only `heads` is set besides `error`, the error of reading it.

    `access` is writable, read-only or standby. `unknown` are current revisions that the tree lacks; then
    `pending` is empty, and `ahead` says whether the heads of the tree are applied. `needs` are revisions of
    other databases that pending revisions require, `holder` has the deployer lock, `protection` refuses
    downgrades.
    """

    database: str
    address: str = ""
    server: str = ""
    dbname: str = ""
    role: str = ""
    access: str = ""
    current: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    ahead: bool = False
    pending: tuple[Revision, ...] = ()
    needs: tuple[str, ...] = ()
    holder: str | None = None
    last_run: JournalRun | None = None
    protection: Protection | None = None
    error: MigrateError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON."""
        last = self.last_run
        return {
            "address": self.address or None,
            "server_version": self.server or None,
            "database": self.dbname or None,
            "role": self.role or None,
            "access": self.access or None,
            "current": list(self.current),
            "heads": list(self.heads),
            "unknown": list(self.unknown),
            "ahead": self.ahead,
            "pending": [revision.to_dict() for revision in self.pending],
            "requires": list(self.needs),
            "lock_holder": self.holder,
            "last_run": {
                "run": last.run,
                "command": last.command,
                "outcome": last.outcome,
                "started_at": last.started_at.isoformat(),
                "ended_at": last.ended_at.isoformat() if last.ended_at else None,
                "by": f"{last.os_user}@{last.host}",
            }
            if last
            else None,
            "protection": self.protection.to_dict() if self.protection else None,
            "error": self.error.to_dict() if self.error else None,
        }


@dataclass(frozen=True, slots=True)
class StatusResult(Report):
    """The state of all databases, and the checks of it."""

    databases: tuple[DatabaseStatus, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the checks, and one object per database."""
        # Zero-argument super() does not work in a dataclass with slots.
        return {
            **Report.to_dict(self),
            "databases": {status.database: status.to_dict() for status in self.databases},
        }
