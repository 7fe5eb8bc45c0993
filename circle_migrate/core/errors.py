"""The named failures, each with a code for JSON output and an exit status.

A message has up to five parts: what failed (`message`, with `database` and `location`), the server's message
(`detail`), the state after the failure (`state`), and what to type next (`hint`). None contains a password:
the command line passes every text through `core.redaction.redact`.
"""

from enum import IntEnum
from traceback import TracebackException
from typing import ClassVar, Self


def text_of(error: BaseException) -> str:
    """Return the text of any exception, also if its `__str__` fails."""
    return str(TracebackException(type(error), error, None))


class ExitCode(IntEnum):
    """The exit statuses of the process, most severe first, with the meanings that help and docs show."""

    TERMINATED = 143, "terminated: by SIGTERM"
    INTERRUPTED = 130, "interrupted: by Ctrl-C"
    HANGUP = 129, "hangup: the terminal was closed"
    BUG = 1, "bug: unexpected error in circle-migrate"
    USAGE = 2, "usage or settings: wrong option, setting, URL or password"
    FAILED = 10, "failed: a step, backup or restore; the message says what was rolled back"
    IN_DOUBT = 8, "in doubt: a transaction or revision is half done and must be completed"
    UNREACHABLE = 9, "unreachable or not writable: no server, database, connection or privilege"
    AHEAD = 7, "ahead or unknown: a database is at a revision that no file has"
    REFUSED = 5, "refused: a guard stopped the command before it changed anything"
    LOCKED = 6, "locked: another session held a lock for too long"
    DRIFT = 4, "drift: models, revisions or databases differ"
    PENDING = 3, "pending: revisions are not applied"
    DONE = 0, "done: everything has succeeded, or there was nothing to do"

    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> Self:
        """Create a status from its number and its meaning: a short name, a colon, and what happened."""
        member = int.__new__(cls, value)
        member._value_, member.meaning = value, meaning
        return member


class MigrateError(Exception):
    """Base of all named failures; raised itself only for a bug in circle-migrate. Exit status 1."""

    code: ClassVar[str] = "internal-error"
    status: ExitCode = ExitCode.BUG
    _state: ClassVar[str] = ""
    """The state after the failure if the place where it is raised gives none."""

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
        self.message, self.database, self.location = message, database, location
        self.detail, self.state, self.hint = detail, state or self._state or None, hint

    def __init_subclass__(
        cls, *, code: str = "", status: ExitCode | None = None, state: str | None = None
    ) -> None:
        super().__init_subclass__()
        cls.code, cls.status = code or cls.code, status or cls.status
        cls._state = cls._state if state is None else state

    def to_dict(self) -> dict[str, str | int | None]:
        """Return the error as in the JSON output."""
        parts = ("message", "database", "location", "detail", "state", "hint")
        return {
            "code": self.code,
            "exit_code": int(self.status),
            **{part: getattr(self, part) for part in parts},
        }


class UsageError(MigrateError, code="usage", status=ExitCode.USAGE):
    """The command line is invalid or contradictory. Exit status 2."""


class SettingsError(UsageError, code="settings"):
    """A setting is missing or wrong. Exit status 2."""


class AuthenticationFailed(UsageError, code="authentication-failed"):
    """The server does not accept the role or password. Exit status 2."""


class Refused(MigrateError, code="refused", status=ExitCode.REFUSED, state="nothing was changed"):
    """A guard stopped the command before anything was changed. Exit status 5."""


class TreeError(Refused, code="broken-tree", state=""):
    """A revision file is broken, missing, duplicated or part of a cycle. Exit status 5."""


class SeveralHeads(Refused, code="several-heads", state=""):
    """The command needs a single head, but there are several. Exit status 5."""


class WrongDatabase(Refused, code="wrong-database"):
    """Both URLs reach the same database, or they are swapped. Exit status 5."""


class NotConfirmed(Refused, code="not-confirmed"):
    """A question was answered with no, or there was no terminal to ask on. Exit status 5."""


class BrokenBackup(Refused, code="broken-backup"):
    """A backup is truncated, edited, or not made by circle-migrate. Exit status 5."""


class LockNotObtained(MigrateError, code="lock-not-obtained", status=ExitCode.LOCKED):
    """Another session held a lock for longer than the configured wait. Exit status 6."""


class SchemaChanged(MigrateError, code="schema-changed", status=ExitCode.DRIFT, state="nothing was changed"):
    """A schema was changed by hand, and the setting `drift` refuses to go on. Exit status 4."""


class UnknownRevision(
    MigrateError, code="unknown-revision", status=ExitCode.AHEAD, state="nothing was changed"
):
    """The database is at a revision that no revision file has. Exit status 7."""


class InDoubt(MigrateError, code="in-doubt", status=ExitCode.IN_DOUBT):
    """A prepared or partly committed transaction has to be resolved first. Exit status 8."""


class Unreachable(MigrateError, code="unreachable", status=ExitCode.UNREACHABLE):
    """The server does not answer, or is not PostgreSQL. Exit status 9."""


class MissingDatabase(Unreachable, code="missing-database"):
    """The server answers, but the database does not exist. Exit status 9."""


class MissingPrivilege(Unreachable, code="missing-privilege"):
    """The role lacks a privilege that the command needs. Exit status 9."""


class NotWritable(Unreachable, code="not-writable"):
    """The server is a standby or read-only. Exit status 9."""


class MigrationFailed(MigrateError, code="migration-failed", status=ExitCode.FAILED):
    """A step failed and was rolled back; `state` has the current revisions. Exit status 10."""


class HalfApplied(MigrationFailed, code="half-applied", status=ExitCode.IN_DOUBT):
    """A step failed after it had committed a part of its work; `state` says what stays. Exit status 8."""


class BackupFailed(
    MigrateError,
    code="backup-failed",
    status=ExitCode.FAILED,
    state="there is no backup; the databases were only read",
):
    """A dump could not be completed, so there is no backup. Exit status 10."""


class RestoreFailed(MigrateError, code="restore-failed", status=ExitCode.FAILED):
    """A backup could not be restored; `state` says what the databases contain. Exit status 10."""


class Interrupted(MigrateError, code="interrupted", status=ExitCode.INTERRUPTED):
    """Ctrl-C, SIGTERM or SIGHUP ended the run. Exit status 130, 143 or 129, set on the instance."""
