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

from circle_migrate.urls import session
from circle_migrate.urls.address import Address
from circle_migrate.urls.keywords import UNDERSTOOD

# What a program needs of our own environment; the rest may hold secrets, and PG* would change where it goes.
_KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "KRB5CCNAME", "SSL_CERT_FILE", "SSL_CERT_DIR")

# Where the driver looks for a server's socket when no host is named, and then at localhost.
_SOCKETS = "/run/postgresql,/var/run/postgresql,/var/pgsql_socket,/private/tmp,/tmp"
_DEFAULT_HOSTS = [*_SOCKETS.split(","), "localhost"]

_MAY_BE_PLAIN = ("allow", "prefer")

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
    found = plain() | {
        name: value
        for key, value in _parameters(address).items()
        if value and (name := UNDERSTOOD[key]) is not None
    }
    if encrypted and address.tls.mode in _MAY_BE_PLAIN:
        found["PGSSLMODE"] = "require"
    found |= {"PGDATABASE": address.database, "PGAPPNAME": application_name}
    # Like the driver, which knows no encryption by GSSAPI.
    found["PGGSSENCMODE"] = "disable"
    if not address.tls.password:
        yield found
        return
    with TemporaryDirectory(prefix="circle-migrate-") as folder:
        file = Path(folder) / "pg_service.conf"
        file.write_text(f"[{_SERVICE}]\nsslpassword={address.tls.password}\n", encoding="utf-8")
        yield found | {"PGSERVICEFILE": str(file), "PGSERVICE": _SERVICE}


def _parameters(address: Address) -> dict[str, str | None]:
    """The address as libpq's keywords."""
    endpoints = [(endpoint.host, endpoint.port) for endpoint in address.endpoints]
    if not any(host for host, _ in endpoints):
        endpoints = [(host, endpoints[0][1]) for host in _DEFAULT_HOSTS]
    timeout = address.connect_timeout
    return {
        "host": ",".join(host for host, _ in endpoints),
        "port": ",".join(str(port) for _, port in endpoints),
        "user": address.user,
        "password": address.password,
        "options": session.written(address.session_settings),
        "connect_timeout": None if timeout is None else str(max(round(timeout), 2)),
        "target_session_attrs": address.target_session_attrs,
        "sslmode": address.tls.mode,
        **{key: value for key, value in address.tls.parameters.items() if key != "sslmode"},
        **address.kerberos,
    }
