"""`Address`: where a database is and how to connect, made from libpq keywords."""

from __future__ import annotations

import getpass
import math
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from circle_migrate.config.url import keywords, tls
from circle_migrate.config.url import session_settings as session
from circle_migrate.config.url.keywords import InvalidUrl
from circle_migrate.config.url.libpq_defaults import home, read_password_file
from circle_migrate.config.url.split import check_port, no_database
from circle_migrate.core.redaction import MASK

_DEFAULT_PORT = 5432
# libpq waits for ever; a deployment should hear of a silent host before its own deadline.
_DEFAULT_CONNECT_TIMEOUT = 10.0


class Endpoint(NamedTuple):
    """A host name, address or socket folder ("" for libpq's default sockets), and a port."""

    host: str
    port: int

    @property
    def is_socket(self) -> bool:
        """Whether the host is the folder of a Unix socket."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        return host if self.port == _DEFAULT_PORT else f"{host}:{self.port}"


class Address(NamedTuple):
    """A database and how to connect to it; neither its repr nor `display` shows a password.

    `connect_timeout` is in seconds for one host, None to wait for ever. `session_settings` are to be
    applied by SET once connected, because poolers refuse them at start-up. `parameters` are the further
    libpq keywords that asyncpg understands. `notes` say what the text asks for that is not done, and what
    was put right.
    """

    endpoints: tuple[Endpoint, ...]
    user: str
    password: str | None
    database: str
    connect_timeout: float | None
    session_settings: Mapping[str, str]
    parameters: Mapping[str, str]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Address({self.display()!r})"

    @property
    def target_session_attrs(self) -> str:
        """Which of the servers is wanted, for example `read-write`."""
        return self.parameters["target_session_attrs"]

    def display(self) -> str:
        """The URL in one normal form, with `***` for the password, and without defaults."""
        hidden = keywords.SECRET
        if all(endpoint.is_socket for endpoint in self.endpoints):
            hidden |= {key for key in self.parameters if key.startswith("ssl")}
        query = {
            key: value
            for key, value in self.parameters.items()
            if key not in hidden and value != keywords.DEFAULTS.get(key)
        }
        if self.connect_timeout != _DEFAULT_CONNECT_TIMEOUT:
            query["connect_timeout"] = f"{self.connect_timeout or 0:g}"
        if self.session_settings:
            query["options"] = session.to_options(self.session_settings)
        password = f":{MASK}" if self.password else ""
        hosts = ",".join(map(str, self.endpoints))
        encoded = urlencode(query, quote_via=quote, safe="/:,=")
        return (
            f"postgresql://{quote(self.user, safe='')}{password}@{hosts}/{quote(self.database, safe='')}"
            f"{'?' if encoded else ''}{encoded}"
        )

    def connect_kwargs(self) -> dict[str, Any]:
        """The keywords of `asyncpg.connect`.

        The password is never None, which would make asyncpg read the password file again. Statement
        caches are off, as DDL makes cached statements invalid. Raises SettingsError when a
        certificate cannot be loaded.
        """
        kwargs: dict[str, Any] = {
            "dsn": f"postgresql://?{urlencode(self.parameters)}",
            "user": self.user,
            "password": self.password or "",
            "database": self.database,
            "port": [endpoint.port for endpoint in self.endpoints],
            # asyncpg counts the time for all hosts together, libpq for each.
            "timeout": None if self.connect_timeout is None else self.connect_timeout * len(self.endpoints),
            "statement_cache_size": 0,
        }
        if any(endpoint.host for endpoint in self.endpoints):
            kwargs["host"] = [endpoint.host for endpoint in self.endpoints]
        # Only for a mode by name does asyncpg try the connection a second time without encryption.
        if self.parameters["sslmode"] not in {"disable", *tls.WEAK}:
            kwargs["ssl"] = tls.context(self.parameters)
        return kwargs

    def with_database(self, name: str) -> Address:
        """The same server and role, another database."""
        return self._replace(database=name)


def build(parameters: Mapping[str, str], environ: Mapping[str, str], notes: tuple[str, ...]) -> Address:
    """An address from libpq keywords. Raises InvalidUrl for a value that cannot be."""
    database = parameters.get("dbname")
    if not database:
        raise no_database()
    for key in sorted(parameters.keys() & keywords.REFUSED.keys()):
        raise InvalidUrl(f"asks for {key}: {keywords.REFUSED[key]}", hint=f"take {key} out")
    for key in sorted(parameters.keys() - keywords.SECRET):
        if "password=" in parameters[key].lower():
            # The text lost a separator: what is shown of this value would show the password.
            raise InvalidUrl(f"has password= inside of its {key}", hint="put the missing separator before it")
    endpoints = _endpoints(parameters)
    user = parameters.get("user") or _system_user()
    password = parameters.get("password")
    password_notes: tuple[str, ...] = ()
    if not password:
        # The password file calls hosts by name, also where there is an address.
        names = parameters.get("host", "").split(",")
        if len(names) != len(endpoints):
            names = [""] * len(endpoints)
        hosts = [
            (name or endpoint.host, endpoint.port) for name, endpoint in zip(names, endpoints, strict=True)
        ]
        password, password_notes = read_password_file(
            parameters.get("passfile"), hosts, database, user, environ
        )
    settings, option_notes = session.read(parameters)
    over_tcp = not all(endpoint.is_socket for endpoint in endpoints)
    further = {
        **tls.settings(parameters, home(environ), over_tcp=over_tcp),
        "krbsrvname": parameters.get("krbsrvname"),
        "gsslib": parameters.get("gsslib"),
        "application_name": parameters.get("application_name") or parameters.get("fallback_application_name"),
        "target_session_attrs": keywords.choice(parameters, "target_session_attrs"),
    }
    return Address(
        endpoints=endpoints,
        user=user,
        password=password or None,
        database=database,
        connect_timeout=_timeout(parameters),
        session_settings=settings,
        parameters={key: value for key, value in further.items() if value},
        notes=(
            *notes,
            *(f"{key} is ignored: {keywords.IGNORED[key]}" for key in parameters if key in keywords.IGNORED),
            *password_notes,
            *option_notes,
        ),
    )


def _endpoints(parameters: Mapping[str, str]) -> tuple[Endpoint, ...]:
    hosts = (parameters.get("hostaddr") or parameters.get("host") or "").split(",")
    ports = parameters.get("port", "").split(",")
    if len(hosts) > 1 and not all(hosts):
        raise InvalidUrl("has an empty host in its list of hosts", hint="take the surplus comma out")
    if any(host.startswith("@") for host in hosts):
        raise InvalidUrl(
            "names an abstract socket, which the driver cannot reach", hint="use a socket in a folder"
        )
    if len(ports) not in {1, len(hosts)}:
        raise InvalidUrl(
            f"has {len(ports)} ports for {len(hosts)} hosts", hint="give one port, or one for each host"
        )
    for port in filter(None, ports):
        check_port(port)
    numbers = [int(port or _DEFAULT_PORT) for port in ports]
    return tuple(map(Endpoint, hosts, numbers * len(hosts) if len(numbers) == 1 else numbers))


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise InvalidUrl(
            "names no user, and this process has no name to take instead",
            hint="write postgresql://USER@...",
        ) from None


def _timeout(parameters: Mapping[str, str]) -> float | None:
    try:
        seconds = float(parameters.get("connect_timeout", _DEFAULT_CONNECT_TIMEOUT))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InvalidUrl("has a connect_timeout that is not a number of seconds", hint="connect_timeout=10")
    return seconds if seconds > 0 else None
