"""Where a database is and how to connect: every spelling people use, read into one `Address`.

Standard library only, so that commands which merely look at settings start fast. What each keyword
means follows libpq (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS),
so that a text which works in psql works here; what asyncpg cannot do is noted on the address.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from circle_migrate import redaction
from circle_migrate.errors import SettingsError
from circle_migrate.urls.address import Address, Endpoint, build
from circle_migrate.urls.libpq import add_surroundings
from circle_migrate.urls.text import read
from circle_migrate.urls.tls import Tls

__all__ = ["Address", "Endpoint", "Tls", "parse"]

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
        given = read(text, source)
        parameters = add_surroundings(given.parameters, environ, source)
        address = build(parameters, environ, source, given.notes)
    except SettingsError:
        _mask(text.strip())
        raise
    for secret in (given.password_as_written, address.password, address.tls.password):
        if secret not in (address.user, address.database, *(endpoint.host for endpoint in address.endpoints)):
            _mask(secret)
    return address


def _mask(secret: str | None) -> None:
    if secret and len(secret) >= _SHORTEST_MASKED:
        redaction.register(secret)
