"""What drivers and servers raise, turned into errors that say what failed and what to type next."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from circle_migrate.core.errors import (
    AuthenticationFailed,
    MigrateError,
    MissingDatabase,
    MissingPrivilege,
    NotWritable,
    SettingsError,
    Unreachable,
)

if TYPE_CHECKING:
    from circle_migrate.config.url.address import Address

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"
INSUFFICIENT_PRIVILEGE = "42501"
READ_ONLY_TRANSACTION = "25006"


def server_error(error: BaseException | None) -> BaseException | None:
    """The driver's own error inside SQLAlchemy's and Alembic's wrappers; None where there is none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if getattr(error, "sqlstate", None) and not hasattr(error, "statement"):
            return getattr(error, "__cause__", None) or error
        error = getattr(error, "driver_exception", None) or getattr(error, "orig", None) or error.__cause__
    return None


def sqlstate(error: BaseException | None) -> str | None:
    """The five characters PostgreSQL gave for the failure, None where it did not come from the server."""
    found = server_error(error)
    return getattr(found, "sqlstate", None)


def server_message(error: BaseException) -> str:
    """What the server said, with its SQLSTATE and hint.

    Its DETAIL stays out: it can quote rows, and rows of a credentials database are secrets.
    """
    found = server_error(error)
    if found is None:
        return " ".join(str(error).split()) or type(error).__name__
    words = getattr(found, "message", None) or str(found).partition("\n")[0]
    hint = getattr(found, "hint", None)
    return f"{words} (SQLSTATE {getattr(found, 'sqlstate', '?')})" + (
        f"; server's hint: {hint}" if hint else ""
    )


@contextmanager
def connecting(database: str, address: Address) -> Iterator[None]:
    """Turn whatever a connection attempt raises into a named error about `database`."""
    try:
        yield
    except MigrateError:
        raise
    except Exception as error:
        raise connection_error(error, database, address) from error


def connection_error(error: Exception, database: str, address: Address) -> MigrateError:
    """The named error for a connection that could not be made."""
    where = address.display()
    state = sqlstate(error)
    if state is not None:
        return _refused_by_server(error, state, database, address)
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"{database}: no answer from {where}",
            database=database,
            hint="is the address right, and does a firewall let this machine through?",
        )
    if isinstance(error, ssl.SSLError):
        return Unreachable(
            f"{database}: no TLS connection to {where}",
            database=database,
            detail=" ".join(str(error).split()),
            hint="check sslmode and sslrootcert; `circle-migrate config show` says what holds",
        )
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f"{database}: the host of {where} is unknown",
            database=database,
            detail=error.strerror,
            hint="check the host name in the URL",
        )
    if isinstance(error, OSError):
        return Unreachable(
            f"{database}: no server answers at {where}",
            database=database,
            detail=error.strerror or str(error),
            hint="is PostgreSQL running there? `--embedded` brings one up for trying things out",
        )
    return _not_a_connection(error, database, address)


def _not_a_connection(error: Exception, database: str, address: Address) -> Unreachable:
    """The error for what neither the server nor the operating system has said."""
    where = address.display()
    if type(error).__name__ == "TargetServerAttributeNotMatched":  # asyncpg's, not imported for it
        return Unreachable(
            f"{database}: no server at {where} is {address.target_session_attrs}",
            database=database,
            hint="correct target_session_attrs in the URL, or give the server that is",
        )
    return Unreachable(
        f"{database}: {where} cannot be connected to",
        database=database,
        detail=f"{type(error).__name__}: {error}",
    )


def _refused_by_server(error: Exception, state: str, database: str, address: Address) -> MigrateError:
    where, words = address.display(), server_message(error)
    if state in ("28P01", "28000"):
        return AuthenticationFailed(
            f"{database}: the server at {where} does not accept this role or password",
            database=database,
            detail=words,
            hint="`circle-migrate config show` says which setting the URL came from",
        )
    if state == "3D000":
        return MissingDatabase(
            f"{database}: the database {address.database!r} does not exist",
            database=database,
            detail=words,
            hint="`circle-migrate init` creates missing databases and migrates them",
        )
    if state == INSUFFICIENT_PRIVILEGE:
        return MissingPrivilege(
            f"{database}: the role may not connect to {address.database!r}",
            database=database,
            detail=words,
            hint=f'GRANT CONNECT ON DATABASE "{address.database}" TO "{address.user}";',
        )
    if "statement pooling mode" in words:
        return SettingsError(
            f"{database}: {where} is a pooler in statement mode; transactions are not possible there",
            database=database,
            detail=words,
            state="nothing was changed",
            hint="give the server's direct URL for migrations, or a pool in session mode",
        )
    if state == "08P01" and "startup parameter" in words:
        return SettingsError(
            f"{database}: {where} is a connection pooler that refuses our settings",
            database=database,
            detail=words,
            hint="give the server's direct URL for migrations",
        )
    hints = {
        "57P03": "the server is starting up, stopping or a standby that takes no connections: try again",
        "53300": "all its connections are taken; this tool needs two per database",
    }
    return Unreachable(
        f"{database}: {where} refused the connection", database=database, detail=words, hint=hints.get(state)
    )


def privilege_hint(words: str, role: str, needed: str = "SELECT, INSERT, UPDATE, DELETE") -> str:
    """The statement that gives a role what the server says it lacks; `needed` on tables."""
    if match := re.search(r"must be owner of (\w+) ([\w.]+)", words):
        kind, name = match.groups()
        return f'run as the owner of the {kind} {name}, or: GRANT the owner\'s role TO "{role}";'
    if match := re.search(r"permission denied for (\w+) ([\w.]+)", words):
        kind, name = match.groups()
        rights = {"schema": "CREATE, USAGE", "database": "CREATE", "sequence": "USAGE, UPDATE"}
        return f'GRANT {rights.get(kind, needed)} ON {kind.upper()} {name} TO "{role}";'
    return f"give the role {role!r} what the server's message names"


def statement_error(error: BaseException, database: str, doing: str) -> MigrateError | None:
    """The named error for a statement the server refused; None where it has no name of its own."""
    state = sqlstate(error)
    if state == INSUFFICIENT_PRIVILEGE:
        return MissingPrivilege(
            f"{database}: the role may not {doing}",
            database=database,
            detail=server_message(error),
        )
    if state == READ_ONLY_TRANSACTION:
        return NotWritable(
            f"{database}: the server is read-only", database=database, detail=server_message(error)
        )
    return None
