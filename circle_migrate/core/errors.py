"""The named failures, each with a code for JSON output and an exit status.

A message has up to five parts: what failed (`message`, with `database` and `location`), the server's message
(`detail`), the state after the failure (`state`), and what to type next (`hint`). None contains a password:
the command line passes every text through `core.redaction.redact`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit statuses of the process; tests compare docs and `--help` with this table."""

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
    """Base of all named failures; raised itself only for a bug in circle-migrate. Exit status 1."""

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
        """Return the error as in the JSON output."""
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
    """The command line is invalid or contradictory. Exit status 2."""

    code = "usage"
    status = ExitCode.USAGE


class SettingsError(UsageError):
    """A setting is missing or wrong. Exit status 2."""

    code = "settings"


class AuthenticationFailed(UsageError):
    """The server does not accept the role or password. Exit status 2."""

    code = "authentication-failed"


class Refused(MigrateError):
    """A guard stopped the command before anything was changed. Exit status 5."""

    code = "refused"
    status = ExitCode.REFUSED


class TreeError(Refused):
    """A revision file is broken, missing, duplicated or part of a cycle. Exit status 5."""

    code = "broken-tree"


class SeveralHeads(Refused):
    """The command needs a single head, but there are several. Exit status 5."""

    code = "several-heads"


class WrongDatabase(Refused):
    """Both URLs reach the same database, or they are swapped. Exit status 5."""

    code = "wrong-database"


class NotConfirmed(Refused):
    """A question was answered with no, or there was no terminal to ask on. Exit status 5."""

    code = "not-confirmed"


class BrokenBackup(Refused):
    """A backup is truncated, edited, or not made by circle-migrate. Exit status 5."""

    code = "broken-backup"


class LockNotObtained(MigrateError):
    """Another session held a lock for longer than the configured wait. Exit status 6."""

    code = "lock-not-obtained"
    status = ExitCode.LOCKED


class UnknownRevision(MigrateError):
    """The database is at a revision that no revision file has. Exit status 7."""

    code = "unknown-revision"
    status = ExitCode.AHEAD


class InDoubt(MigrateError):
    """A prepared or partly committed transaction has to be resolved first. Exit status 8."""

    code = "in-doubt"
    status = ExitCode.IN_DOUBT


class Unreachable(MigrateError):
    """The server does not answer, or is not PostgreSQL. Exit status 9."""

    code = "unreachable"
    status = ExitCode.UNREACHABLE


class MissingDatabase(Unreachable):
    """The server answers, but the database does not exist. Exit status 9."""

    code = "missing-database"


class MissingPrivilege(Unreachable):
    """The role lacks a privilege that the command needs. Exit status 9."""

    code = "missing-privilege"


class NotWritable(Unreachable):
    """The server is a standby or read-only. Exit status 9."""

    code = "not-writable"


class MigrationFailed(MigrateError):
    """A step failed and was rolled back; `state` has the current revisions. Exit status 10."""

    code = "migration-failed"
    status = ExitCode.FAILED


class HalfApplied(MigrationFailed):
    """A step failed after it had committed a part of its work; `state` says what stays. Exit status 8."""

    code = "half-applied"
    status = ExitCode.IN_DOUBT


class BackupFailed(MigrateError):
    """A dump could not be completed, so there is no backup. Exit status 10."""

    code = "backup-failed"
    status = ExitCode.FAILED


class RestoreFailed(MigrateError):
    """A backup could not be restored; `state` says what the databases contain. Exit status 10."""

    code = "restore-failed"
    status = ExitCode.FAILED


class Interrupted(MigrateError):
    """Ctrl-C, SIGTERM or SIGHUP ended the run. Exit status 130, 143 or 129, set on the instance."""

    code = "interrupted"
    status = ExitCode.INTERRUPTED
