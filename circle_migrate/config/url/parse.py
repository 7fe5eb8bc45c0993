"""Parse a URL or a libpq keyword string into an `Address`.

Keywords have the meaning of libpq, so that a URL that works in psql works here:
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS. asyncpg 0.32 gets the
keywords, and a DSN of the other parameters that it understands (asyncpg/connect_utils.py,
`_parse_connect_dsn_and_args`).

asyncpg connects to the hosts in turn, finds sockets if no host is named, and implements target_session_attrs,
Kerberos, direct TLS, and for `allow` and `prefer` the TLS context and the second attempt.

This package implements what asyncpg does differently, or only while it connects:

- The text: drivers after a `+`, unquoted characters, keyword strings, `ssl=`, two databases in one URL;
  asyncpg splits at the first @ and sends unknown keywords to the server as settings (channel_binding,
  connect_timeout, hostaddr, keepalives, options).
- The service file: asyncpg connects to a default server if the service is unknown, ignores PGSERVICE and
  PGSYSCONFDIR, fails at a % in a value, and quotes lines of the file in errors.
- The password file: asyncpg keeps backslashes (MagicStack/asyncpg#1249), fails at a line with too few fields,
  and does not return the password, which then could not be masked.
- `PG*` variables: PGDATABASE must not apply, pg_dump needs the result, `config show` shows it.
- sslrootcert=system, and errors that name the faulty file before connecting.
"""

import os
from collections.abc import Mapping

from circle_migrate.config.url.address import Address, build
from circle_migrate.config.url.keywords import InvalidUrl, apply_libpq_defaults
from circle_migrate.config.url.split import read
from circle_migrate.core import redaction
from circle_migrate.core.errors import SettingsError

# Shorter secrets are not masked: replacing them in ordinary words would reveal them.
_MIN_MASKED_LENGTH = 6


def parse(text: str, *, source: str, environ: Mapping[str, str] | None = None) -> Address:
    """Parse a URL or a libpq keyword string; `source` names it in messages.

    Missing parameters come from the service file, `PG*` variables of `environ` (default: the process's) and
    the password file, as in libpq, except for the database name, which is required. Raises SettingsError,
    which quotes no value of the text.
    """
    environ = os.environ if environ is None else environ
    try:
        parsed = read(text)
        address = build(apply_libpq_defaults(parsed.parameters, environ), environ, parsed.notes)
    except InvalidUrl as error:
        mask(text.strip())
        raise SettingsError(f"{source} {error}", hint=error.hint) from None
    for secret in (parsed.password_as_written, address.password, address.parameters.get("sslpassword")):
        if secret not in (address.user, address.database, *(endpoint.host for endpoint in address.endpoints)):
            mask(secret)
    return address


def has_password(text: str) -> bool:
    """Return whether the text contains a password; False for an invalid text, which `parse` refuses."""
    try:
        return bool(read(text).password_as_written)
    except InvalidUrl:
        return False


def mask(secret: str | None) -> None:
    """Register a password for redaction, unless it is so short that it could be an ordinary word."""
    if secret and len(secret) >= _MIN_MASKED_LENGTH:
        redaction.register(secret)
