"""Pass an address to PostgreSQL's own programs in environment variables.

Every user of a machine can read the arguments of a process, but only its owner and root can read its
environment (proc(5), /proc/PID/environ).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from circle_migrate.config.url import keywords, tls
from circle_migrate.config.url.address import Address, Endpoint, to_options

# Variables that are passed on; others may contain secrets, and PG* would change the address.
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "KRB5CCNAME", "SSL_CERT_FILE", "SSL_CERT_DIR")

# The sockets and host that asyncpg tries if no host is named.
_DEFAULT_HOSTS = ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp", "localhost")  # noqa: S108

_SERVICE = "circle-migrate"


def plain() -> dict[str, str]:
    """Return the environment of a program that connects to no server; its messages are in English."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"LC_ALL": "C"}


@contextmanager
def environment(address: Address, application_name: str, *, encrypted: bool) -> Iterator[dict[str, str]]:
    """Yield the environment in which a program of PostgreSQL connects to the address.

    If our connection is `encrypted`, the program's must be as well, even for a weak sslmode: some programs
    are built without TLS. The password of a client key has no variable; it is passed in a temporary service
    file.
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
        "options": to_options(address.session_settings),
    }
    if address.connect_timeout is not None:
        parameters["connect_timeout"] = str(max(round(address.connect_timeout), 2))
    if encrypted and parameters["sslmode"] in tls.WEAK:
        parameters["sslmode"] = "require"
    variables = plain() | {
        name: value for key, name in keywords.VARIABLES.items() if (value := parameters.get(key))
    }
    # As in the driver, which does not support GSSAPI encryption.
    variables |= {"PGDATABASE": address.database, "PGGSSENCMODE": "disable"}
    password = address.parameters.get("sslpassword")
    if not password:
        yield variables
        return
    with TemporaryDirectory(prefix="circle-migrate-") as folder:
        file = Path(folder) / "pg_service.conf"
        file.write_text(f"[{_SERVICE}]\nsslpassword={password}\n", encoding="utf-8")
        yield variables | {"PGSERVICEFILE": str(file), "PGSERVICE": _SERVICE}
