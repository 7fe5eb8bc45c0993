"""Where a database is and how to connect: every spelling people use, read into one `Address`.

What each keyword means follows libpq, so that a text which works in psql works here:
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS. asyncpg 0.32 gets the
keywords and a DSN of what else it understands (asyncpg/connect_utils.py, `_parse_connect_dsn_and_args`).

asyncpg's part: connecting to each host in turn, sockets where no host is named, target_session_attrs,
Kerberos, direct TLS, and for `allow` and `prefer` the TLS context and the second try.

Ours, because asyncpg does it otherwise or only while it connects:

- The text: drivers after a `+`, unquoted characters, keyword strings, `ssl=`, two databases in one URL;
  asyncpg splits at the first @ and sends keywords it does not know to the server as settings
  (channel_binding, connect_timeout, hostaddr, keepalives, options).
- The service file: asyncpg connects to a default server where the service is unknown, ignores PGSERVICE
  and PGSYSCONFDIR, fails at a % in a value, and quotes lines of the file in errors.
- The password file: asyncpg leaves backslashes in (MagicStack/asyncpg#1249), fails at a line with too few
  fields, and does not tell the password it read, which could then not be masked.
- `PG*` variables: PGDATABASE must not choose, pg_dump needs the result, `config show` shows it.
- sslrootcert=system, and errors that name the file at fault before anything is connected to.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from circle_migrate.config.url.address import Address, build
from circle_migrate.config.url.keywords import InvalidUrl
from circle_migrate.config.url.libpq_defaults import apply_libpq_defaults
from circle_migrate.config.url.split import read
from circle_migrate.core import redaction
from circle_migrate.core.errors import SettingsError

# Shorter secrets are not masked in output: they would punch holes into ordinary words, which spoils
# the output and tells the reader what the password is.
_SHORTEST_MASKED = 6


def parse(text: str, *, source: str, environ: Mapping[str, str] | None = None) -> Address:
    """Read a URL or a libpq keyword string; `source` says in messages where it stands.

    Like libpq, fills what the text leaves open from the service file, `PG*` variables of `environ`
    (default: the process's) and the password file, except for the database name: that has to be said.

    Raises SettingsError, which never quotes a value from the text.
    """
    environ = os.environ if environ is None else environ
    try:
        parsed = read(text)
        address = build(apply_libpq_defaults(parsed.parameters, environ), environ, parsed.notes)
    except InvalidUrl as error:
        _mask(text.strip())
        raise SettingsError(f"{source} {error}", hint=error.hint) from None
    for secret in (parsed.password_as_written, address.password, address.parameters.get("sslpassword")):
        if secret not in (address.user, address.database, *(endpoint.host for endpoint in address.endpoints)):
            _mask(secret)
    return address


def has_password(text: str) -> bool:
    """Whether the text itself has a password; not where it cannot be read, which `parse` refuses."""
    try:
        return bool(read(text).password_as_written)
    except InvalidUrl:
        return False


def _mask(secret: str | None) -> None:
    if secret and len(secret) >= _SHORTEST_MASKED:
        redaction.register(secret)
