"""An address as PostgreSQL's own programs read it: from environment variables, never from arguments.

Everybody on a machine can read the arguments of a process; its environment only its owner and root can
(proc(5), /proc/PID/environ).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from circle_migrate.config.url import keywords, tls
from circle_migrate.config.url import session_settings as session
from circle_migrate.config.url.address import Address, Endpoint

# What a program needs of our own environment; the rest may hold secrets, and PG* would change where it goes.
_KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "KRB5CCNAME", "SSL_CERT_FILE", "SSL_CERT_DIR")

# Where asyncpg looks for a server's socket when no host is named, and then at localhost.
_DEFAULT_HOSTS = ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp", "localhost")  # noqa: S108

_SERVICE = "circle-migrate"


def plain() -> dict[str, str]:
    """The environment of a program that connects to nothing; its messages are in English."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | {"LC_ALL": "C"}


@contextmanager
def environment(address: Address, application_name: str, *, encrypted: bool) -> Iterator[dict[str, str]]:
    """The environment in which a program of PostgreSQL connects to the address, while the block runs.

    Where our own connection is `encrypted` the program's has to be as well, however weak the sslmode: some
    programs are built without TLS. The password of a client's key has no variable; it goes through a
    service file in a private folder.
    """
    endpoints = address.endpoints
    if not any(endpoint.host for endpoint in endpoints):
        endpoints = tuple(Endpoint(host, endpoints[0].port) for host in _DEFAULT_HOSTS)
    parameters = {
        **address.parameters,
        "host": ",".join(endpoint.host for endpoint in endpoints),
        "port": ",".join(str(endpoint.port) for endpoint in endpoints),
        "user": address.user,
        "password": address.password,
        "application_name": application_name,
        "options": session.to_options(address.session_settings),
    }
    if address.connect_timeout is not None:
        parameters["connect_timeout"] = str(max(round(address.connect_timeout), 2))
    if encrypted and parameters["sslmode"] in tls.WEAK:
        parameters["sslmode"] = "require"
    variables = plain() | {
        name: value for key, name in keywords.VARIABLES.items() if (value := parameters.get(key))
    }
    # Like the driver, which knows no encryption by GSSAPI.
    variables |= {"PGDATABASE": address.database, "PGGSSENCMODE": "disable"}
    password = address.parameters.get("sslpassword")
    if not password:
        yield variables
        return
    with TemporaryDirectory(prefix="circle-migrate-") as folder:
        file = Path(folder) / "pg_service.conf"
        file.write_text(f"[{_SERVICE}]\nsslpassword={password}\n", encoding="utf-8")
        yield variables | {"PGSERVICEFILE": str(file), "PGSERVICE": _SERVICE}
