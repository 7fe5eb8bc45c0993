"""Conversion of errors of drivers and servers to named errors with a hint."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from circle_migrate.config.url.address import Address
from circle_migrate.core.errors import (
    AuthenticationFailed,
    ExitCode,
    MigrateError,
    MissingDatabase,
    MissingPrivilege,
    NotWritable,
    SettingsError,
    Unreachable,
    text_of,
)
from circle_migrate.core.redaction import redact

if TYPE_CHECKING:
    import asyncpg

LOCK_NOT_AVAILABLE = "55P03"
UNDEFINED_TABLE = "42P01"
LOCK_CONFLICTS = (LOCK_NOT_AVAILABLE, "40P01")  # the other one is a deadlock
INSUFFICIENT_PRIVILEGE = "42501"
QUERY_CANCELED = "57014"
READ_ONLY_TRANSACTION = "25006"

AFTER_LOSS = "when the server answers, run the same command again"
"""The hint after a lost connection."""

_ARGUMENT = re.compile(
    r"invalid input for query argument (?P<name>\$\d+)(?P<row> in element #\d+)?.*?: "
    r"(?P<value>.*) \((?P<reason>.*)\)",
    re.DOTALL,
)
_WANTED = {
    "out of int": "an int that fits the column, which may have to become a bigint,",
    "as an integer|integer is required": "int",
    "expected str|'encode'": "str, for json that of json.dumps(value),",
    "toordinal": "datetime.date",
    "'hour'|'tzinfo'": "datetime.time",
    "datetime instance": "datetime.datetime",
    "offset-naive": "datetime without time zone for timestamp, and with one for timestamptz,",
    "'days'": "datetime.timedelta",
    "UUID|'bytes'": "uuid.UUID",
}
"""What asyncpg takes, by a pattern of its reason to refuse an argument, where that does not say it."""
_HINTS = {
    r"before any query": "a revision cannot choose the level of the transaction that it shares: write "
    '`transactional = False` below `revision`, op.execute("BEGIN ISOLATION LEVEL ...") before the '
    'statements and op.execute("COMMIT") after them',
    r"SQLSTATE (25001|2D000)\)|ended its transaction": "write `transactional = False` below `revision`: the "
    "revision then runs without a transaction, each statement by itself; then run the same command again",
    r"SQLSTATE 55P04\)": "write `transactional = False` into the revision that adds the value, so that it is "
    "committed before the value is used; then run the same command again",
    r'at or near "%"': "write $1, $2 for parameters of driver SQL, or use sa.text with :name; revisions that "
    'are written for psycopg run with the setting driver = "psycopg"',
    r"\bin\s+\$\d": "asyncpg takes no list after IN: write = ANY(:names), or give "
    'sa.bindparam("names", expanding=True)',
    r"another loop is running|running event loop": "steps run in an event loop: write await_only(coroutine), "
    "with `from sqlalchemy.util import await_only`",
    r"max_locks_per_transaction": "the transaction locks more objects than the server has room for: give "
    'each revision its own by the setting transaction = "per-revision", or raise max_locks_per_transaction '
    "on the server",
    r"cannot insert multiple commands": "send each statement that has parameters by itself",
}
"""What to write instead, by a pattern of the error and its statement."""

_LACKED = {
    r'(extension "[^"]+") is not available': r"the \1",
    r'extension control file ".*?([^/"]+)\.control"': r'the extension "\1"',
    r'(extension "[^"]+") has no .*(version "[^"]+")': r"\2 of the \1",
    r'could not access file "([^"]+)"': r"the library \1",
    r'((?:role|tablespace) "[^"]+") does not exist': r"the \1",
    r'collation "[^"]+-x-icu"|ICU is not supported': "collations of ICU",
}
"""What a server does not have and another one may have, by a pattern of the error."""


def _unwrap(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and those inside SQLAlchemy's and Alembic's wrappers."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "driver_exception", None) or getattr(error, "orig", None) or error.__cause__


def server_error(error: BaseException | None) -> BaseException | None:
    """Return the server's error inside the wrappers, or None; errors of the driver itself are none."""
    for inner in _unwrap(error):
        if getattr(inner, "sqlstate", None) and not hasattr(inner, "statement"):
            return None if _ARGUMENT.search(str(inner)) else inner.__cause__ or inner
    return None


def driver_message(error: BaseException) -> str | None:
    """Return what the driver itself refuses, without values of arguments; None for other errors."""
    for inner in _unwrap(error):
        driver = type(inner).__module__.partition(".")[0]
        if driver not in ("asyncpg", "psycopg"):
            continue
        if match := _ARGUMENT.search(str(inner)):
            value = match["value"].strip("'\"")
            reason = match["reason"].replace(value, "…") if len(value) > 1 else match["reason"]
            return f"asyncpg: argument {match['name']}{match['row'] or ''}: {reason}"
        if not getattr(inner, "sqlstate", None):
            return f"{driver}: " + " ".join(redact(str(inner)).split())
    return None


def statement_hint(error: BaseException) -> str | None:
    """Return what to write instead of what the driver or the transaction does not take."""
    text = server_message(error)
    if argument := re.match(r"asyncpg: argument (\$(\d+)(?: in element #(\d+))?): ", text):
        wanted = (kind for reason, kind in _WANTED.items() if re.search(reason, text))
        hint = f"asyncpg takes {next(wanted, 'a value of its own type')} for argument {argument[1]}"
        with suppress(LookupError, TypeError):  # the error of the driver alone has no values
            values: Any = getattr(error, "params", None)
            value = (values[int(argument[3])] if argument[3] else values)[int(argument[2]) - 1]
            hint += f", which is of type {type(value).__name__}"
            if isinstance(value, str):
                hint += "; to let the server convert it: CAST(CAST(:name AS text) AS date)"
        return hint
    text += f"\n{getattr(error, 'statement', None) or ''}"
    return next((hint for pattern, hint in _HINTS.items() if re.search(pattern, text, re.IGNORECASE)), None)


def scratch_server_lacks(message: str) -> str | None:
    """Return what a scratch server lacks according to its message, and what to do; None if nothing."""
    matches = ((re.search(pattern, message), text) for pattern, text in _LACKED.items())
    for lacked in (match.expand(text) for match, text in matches if match):
        hint = "name one of the same PostgreSQL version that has it: --scratch-url URL"
        return f"the scratch server does not have {lacked}; {hint}"
    return None


def sqlstate(error: BaseException | None) -> str | None:
    """Return the SQLSTATE of an error; None if it did not come from the server."""
    return getattr(server_error(error), "sqlstate", None)


def server_message(error: BaseException) -> str:
    """Return the server's message, SQLSTATE and hint; DETAIL is omitted, as it can quote secret rows."""
    original = server_error(error)
    if original is None:
        return driver_message(error) or " ".join(redact(text_of(error)).split()) or type(error).__name__
    diagnostic = getattr(original, "diag", None)  # of psycopg
    message = getattr(original, "message", None) or getattr(diagnostic, "message_primary", None)
    message = message or str(original).partition("\n")[0]
    hint = getattr(original, "hint", None) or getattr(diagnostic, "message_hint", None)
    state = getattr(original, "sqlstate", "?")
    return f"{message} (SQLSTATE {state})" + (f"; server's hint: {hint}" if hint else "")


@contextmanager
def connection_errors(database: str, address: Address) -> Iterator[None]:
    """Convert the errors of a connection attempt to named errors about `database`."""
    try:
        yield
    except MigrateError:
        raise
    except Exception as error:
        raise connection_error(error, database, address) from error


@contextmanager
def lost_connection_errors(database: str, connection: asyncpg.Connection) -> Iterator[None]:
    """Convert an error that has no name yet to `Unreachable` if the connection was lost."""
    try:
        yield
    except Exception as error:
        if not connection.is_closed() or (isinstance(error, MigrateError) and error.status != ExitCode.BUG):
            raise
        message, detail = f"{database}: the connection was lost", server_message(error)
        raise Unreachable(message, database=database, detail=detail, hint=AFTER_LOSS) from error


def connection_error(error: Exception, database: str, address: Address) -> MigrateError:
    """Return the named error for a failed connection attempt."""
    where = address.display()
    state = sqlstate(error)
    if state is not None:
        return _server_refusal(error, state, database, address)
    detail: str | None = " ".join(str(error).split())
    hint = None
    if isinstance(error, TimeoutError):
        message, detail = f"no answer from {where}", None
        hint = "check the address, and whether a firewall blocks this machine"
    elif isinstance(error, ssl.SSLError):
        message = f"no TLS connection to {where}"
        hint = "check sslmode and sslrootcert of the URL: circle-migrate config show"
    elif "rejected SSL upgrade" in str(error):
        message = f"no TLS connection to {where}"
        hint = "switch on ssl on the server; or set sslmode=disable in the URL if the network is private"
    elif isinstance(error, socket.gaierror):
        message, detail = f"the host of {where} is unknown", error.strerror
        hint = "check the host name in the URL"
    elif isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        message = f"{where} closes the connection before it answers"
        hint = "check that PostgreSQL listens there, and its log; sslnegotiation=direct needs PostgreSQL 17"
    elif isinstance(error, OSError):
        message, detail = f"no server answers at {where}", error.strerror or str(error)
        hint = "start PostgreSQL there, or add `--embedded` to use a local server"
    elif type(error).__name__ == "TargetServerAttributeNotMatched":  # asyncpg is not imported
        message, detail = f"no server at {where} is {address.target_session_attrs}", None
        hint = "correct target_session_attrs in the URL, or use the URL of such a server"
    else:
        message, detail = f"{where} cannot be connected to", f"{type(error).__name__}: {error}"
    return Unreachable(f"{database}: {message}", database=database, detail=detail, hint=hint)


def _server_refusal(error: Exception, state: str, database: str, address: Address) -> MigrateError:
    where, detail = address.display(), server_message(error)
    kind: type[MigrateError] = Unreachable
    message, hint, outcome = f"{where} refused the connection", None, None
    if state in ("28P01", "28000"):
        kind, message = AuthenticationFailed, f"the server at {where} does not accept this role or password"
        hint = "to see which setting the URL comes from: circle-migrate config show"
        if address.password_command is not None:
            hint = f"check for which role and server {address.password_command.source} prints a password"
        if "not permitted to log in" in detail:
            hint = f'ALTER ROLE "{address.user}" LOGIN;'
        if "no encryption" in detail:
            hint = "use TLS: add sslmode=require to the URL"
    elif state == "3D000":
        kind, message = MissingDatabase, f"the database {address.database!r} does not exist"
        hint = "to create missing databases and migrate them: circle-migrate init"
    elif state == INSUFFICIENT_PRIVILEGE:
        kind, message = MissingPrivilege, f"the role may not connect to {address.database!r}"
        hint = f'GRANT CONNECT ON DATABASE "{address.database}" TO "{address.user}";'
    elif "statement pooling mode" in detail:
        kind, message = SettingsError, f"{where} is a pooler in statement mode, which has no transactions"
        outcome = "nothing was changed"
        hint = "use the direct URL of the server for migrations, or a pool in session mode"
    elif state == "08P01" and "startup parameter" in detail:
        kind, message = SettingsError, f"{where} is a connection pooler that refuses our settings"
        hint = "use the direct URL of the server for migrations"
    elif state == QUERY_CANCELED:
        message = f"{where} cancelled the first statement"
        hint = "give the role or the database a longer limit: ALTER ROLE ... SET statement_timeout = '1min';"
    elif state == "57P03":
        hint = "try again later: the server is starting or stopping, or is a standby without connections"
    elif state == "53300":
        hint = "close connections: all are in use, and circle-migrate needs two per database"
        if "for role" in detail:
            hint += f'; or allow the role more: ALTER ROLE "{address.user}" CONNECTION LIMIT 5;'
    return kind(f"{database}: {message}", database=database, detail=detail, state=outcome, hint=hint)


def privilege_hint(
    message: str, role: str, needed: str = "SELECT, INSERT, UPDATE, DELETE", schema: str = ""
) -> str:
    """Return the statement that grants a privilege (`needed` for tables); `schema` is that of our tables."""
    if match := re.search(r"row-level security policy for table (.+?)( \(SQLSTATE|$)", message):
        if message.startswith("new row violates"):
            return f"the policies of {match[1]} refuse a row: correct it, or run it as a role with BYPASSRLS"
        return (
            f"policies of {match[1]} may hide rows from it: run it as a role with BYPASSRLS, or as the owner"
            " without FORCE ROW LEVEL SECURITY; to see only the rows that the policies show, execute"
            " SET row_security = on before it, or add options=-c%20row_security%3Don to the URL"
        )
    if match := re.search(r"must be owner of (\w+) ([\w.]+)", message):
        kind, name = match.groups()
        return f'run the command as the owner of the {kind} {name}, or: GRANT the owner\'s role TO "{role}";'
    if match := re.search(r"permission denied for (\w+) ([\w.]+)", message):
        kind, name = match.groups()
        rights = {"schema": "CREATE, USAGE", "database": "CREATE", "sequence": "USAGE, UPDATE"}
        if schema and name in ("runs", "steps", "protection"):
            name = f"{schema}.{name}"
        return f'GRANT {rights.get(kind, needed)} ON {kind.upper()} {name} TO "{role}";'
    return f"grant the role {role!r} the privilege that the server names"


def statement_error(error: BaseException, database: str, action: str) -> MigrateError | None:
    """Return the named error for a refused statement, or None; `action` completes "the role may not"."""
    state, message = sqlstate(error), server_message(error)
    if state == INSUFFICIENT_PRIVILEGE:
        return MissingPrivilege(f"{database}: the role may not {action}", database=database, detail=message)
    if state == READ_ONLY_TRANSACTION:
        return NotWritable(f"{database}: the server is read-only", database=database, detail=message)
    return None


def named_error(
    error: BaseException, database: str, action: str, kind: type[MigrateError] = Unreachable
) -> MigrateError:
    """Return the error of `statement_error`, or else one of this kind."""
    return statement_error(error, database, action) or kind(
        f"{database}: cannot {action}", database=database, detail=server_message(error)
    )
