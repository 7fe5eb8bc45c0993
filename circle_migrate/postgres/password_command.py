"""Run the command that prints the password of a database: once for each connection, as tokens expire."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress

from circle_migrate.config.password_command import PasswordCommand
from circle_migrate.config.url.address import Address
from circle_migrate.config.url.parse import mask
from circle_migrate.core.errors import AuthenticationFailed
from circle_migrate.core.redaction import redact

MAX_SECONDS = 30.0
"""Seconds after which the command is ended."""

_MAX_LINES = 5


class PasswordCommandFailed(AuthenticationFailed, code="password-command-failed"):
    """The command that prints a password has failed. Exit status 2."""


async def with_password(database: str, address: Address, command: PasswordCommand) -> Address:
    """Return the address with the password that the command prints. Raises `PasswordCommandFailed`."""
    status, output, errors = await _run(database, address, command)
    text = output.decode("utf-8", "replace")
    for line in text.splitlines():
        mask(line.strip())  # before anything is shown, also if the command has failed
    if status != 0:
        lines = errors.decode("utf-8", "replace").strip().splitlines()[-_MAX_LINES:]
        reason = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
        raise _failure(database, command, "failed", "\n".join([reason, *map(redact, lines)]))
    password = text.rstrip("\r\n")
    if not password or not password.isprintable() or "\ufffd" in password:
        kind = "text of one line" if password else "password"
        raise _failure(database, command, f"printed no {kind}", "its output is not shown")
    return address._replace(password=password)


async def _run(database: str, address: Address, command: PasswordCommand) -> tuple[int, bytes, bytes]:
    variables = {
        "PGHOST": ",".join(endpoint.host for endpoint in address.endpoints),
        "PGPORT": ",".join(str(endpoint.port) for endpoint in address.endpoints),
        "PGUSER": address.user,
        "PGDATABASE": address.database,
    }
    try:
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=command.folder,
            env={**os.environ, **variables},
            start_new_session=True,  # so that all its processes can be ended
        )
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise _failure(database, command, "cannot be run", f"{command.argv[0]}: {reason}") from None
    is_complete = False
    try:
        async with asyncio.timeout(MAX_SECONDS):
            output, errors = await process.communicate()
        is_complete = True
    except TimeoutError:
        raise _failure(database, command, f"took longer than {MAX_SECONDS:g} s") from None
    finally:
        if not is_complete:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, output, errors


def _failure(
    database: str, command: PasswordCommand, what: str, detail: str | None = None
) -> PasswordCommandFailed:
    return PasswordCommandFailed(
        f"{database}: the command of {command.source} {what}",
        database=database,
        detail=detail,
        hint=f"run it by hand in {command.folder}: {command.text}",
    )
