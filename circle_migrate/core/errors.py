"""Every failure the tool can name, with its exit status.

    MigrateError                         1 internal-error
    ├── UsageError                       2 usage
    │   ├── SettingsError                2 settings
    │   └── AuthenticationFailed         2 authentication-failed
    ├── Refused                          5 refused
    │   ├── TreeError                    5 broken-tree
    │   ├── SeveralHeads                 5 several-heads
    │   ├── WrongDatabase                5 wrong-database
    │   ├── NotConfirmed                 5 not-confirmed
    │   └── BrokenBackup                 5 broken-backup
    ├── LockNotObtained                  6 lock-not-obtained
    ├── UnknownRevision                  7 unknown-revision
    ├── InDoubt                          8 in-doubt
    ├── Unreachable                      9 unreachable
    │   ├── MissingDatabase              9 missing-database
    │   ├── MissingPrivilege             9 missing-privilege
    │   └── NotWritable                  9 not-writable
    ├── MigrationFailed                 10 migration-failed
    ├── BackupFailed                    10 backup-failed
    ├── RestoreFailed                   10 restore-failed
    └── Interrupted                    130 interrupted

A message has up to five parts, each an attribute: what failed (`message`, with `database` and `location`),
the server's own words (`detail`), what state things are in now (`state`), and what to type next (`hint`).
Nothing here ever holds a password: texts from drivers pass `core.redaction.redact` at the boundary.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The process's exit statuses, one per state; docs and `--help` are checked against this table."""

    DONE = 0
    BUG = 1
    USAGE = 2
    PENDING = 3
    DRIFT = 4
    REFUSED = 5
    LOCKED = 6
    AHEAD = 7
    IN_DOUBT = 8
    UNREACHABLE = 9
    FAILED = 10
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class MigrateError(Exception):
    """Base of every named failure; raised itself only for states that are a bug of this package."""

    code: ClassVar[str] = "internal-error"
    status: ExitCode = ExitCode.BUG

    def __init__(
        self,
        message: str,
        *,
        database: str | None = None,
        detail: str | None = None,
        state: str | None = None,
        hint: str | None = None,
        location: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.database = database
        self.detail = detail
        self.state = state
        self.hint = hint
        self.location = location

    def to_dict(self) -> dict[str, str | int | None]:
        """The error as the JSON contract shows it."""
        return {
            "code": self.code,
            "exit_code": int(self.status),
            "message": self.message,
            "database": self.database,
            "location": self.location,
            "detail": self.detail,
            "state": self.state,
            "hint": self.hint,
        }


class UsageError(MigrateError):
    """The command line asks for something that cannot be."""

    code = "usage"
    status = ExitCode.USAGE


class SettingsError(UsageError):
    """A setting is missing or wrong."""

    code = "settings"


class AuthenticationFailed(UsageError):
    """The server does not accept this role or password."""

    code = "authentication-failed"


class Refused(MigrateError):
    """A guard stopped the command before anything was touched."""

    code = "refused"
    status = ExitCode.REFUSED


class TreeError(Refused):
    """A revision file is broken, missing, duplicated or part of a cycle."""

    code = "broken-tree"


class SeveralHeads(Refused):
    """A single head was needed and there are several."""

    code = "several-heads"


class WrongDatabase(Refused):
    """Both URLs reach the same database, or they are swapped."""

    code = "wrong-database"


class NotConfirmed(Refused):
    """A question was answered with no, or there was nobody to ask."""

    code = "not-confirmed"


class BrokenBackup(Refused):
    """A backup is cut off, edited, or not one of ours."""

    code = "broken-backup"


class LockNotObtained(MigrateError):
    """Another deployer or session held a lock for longer than we were told to wait."""

    code = "lock-not-obtained"
    status = ExitCode.LOCKED


class UnknownRevision(MigrateError):
    """The database is at a revision this package does not know."""

    code = "unknown-revision"
    status = ExitCode.AHEAD


class InDoubt(MigrateError):
    """A transaction is prepared or half-applied and its outcome has to be settled."""

    code = "in-doubt"
    status = ExitCode.IN_DOUBT


class Unreachable(MigrateError):
    """The server does not answer, or not as PostgreSQL."""

    code = "unreachable"
    status = ExitCode.UNREACHABLE


class MissingDatabase(Unreachable):
    """The server answers, the database does not exist."""

    code = "missing-database"


class MissingPrivilege(Unreachable):
    """The role may not do what the command needs."""

    code = "missing-privilege"


class NotWritable(Unreachable):
    """The server is a standby or read-only."""

    code = "not-writable"


class MigrationFailed(MigrateError):
    """A step failed and its transaction was rolled back; `state` says where both databases are."""

    code = "migration-failed"
    status = ExitCode.FAILED


class BackupFailed(MigrateError):
    """A dump could not be completed; there is no backup."""

    code = "backup-failed"
    status = ExitCode.FAILED


class RestoreFailed(MigrateError):
    """A backup could not be restored; `state` says what the databases hold."""

    code = "restore-failed"
    status = ExitCode.FAILED


class Interrupted(MigrateError):
    """Ctrl-C, SIGTERM or SIGHUP; the instance's status says which."""

    code = "interrupted"
    status = ExitCode.INTERRUPTED
