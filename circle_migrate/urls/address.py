"""`Address`: where a database is and how to connect, made from libpq keywords."""

from __future__ import annotations

import getpass
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from circle_migrate.errors import SettingsError
from circle_migrate.redaction import MASK
from circle_migrate.urls import keywords, session, tls
from circle_migrate.urls.libpq import home, password_from_file
from circle_migrate.urls.text import bad_port, is_port, no_database

DEFAULT_PORT = 5432
# libpq waits for ever; a deployment should hear of a silent host before its own deadline.
DEFAULT_CONNECT_TIMEOUT = 10.0
_SESSION_ATTRIBUTES = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")


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
        return host if self.port == DEFAULT_PORT else f"{host}:{self.port}"


_NOTHING: Mapping[str, str] = MappingProxyType({})


class Address(NamedTuple):
    """A database and how to connect to it; neither its repr nor `display` shows a password.

    `connect_timeout` is in seconds for one host, None to wait for ever. `session_settings` are to be
    applied by SET once connected, because poolers refuse them at start-up. `notes` say what the text
    asks for that is not done, and what was put right.
    """

    endpoints: tuple[Endpoint, ...]
    user: str
    database: str
    source: str
    password: str | None = None
    tls: tls.Tls = tls.Tls()
    application_name: str | None = None
    connect_timeout: float | None = DEFAULT_CONNECT_TIMEOUT
    session_settings: Mapping[str, str] = _NOTHING
    target_session_attrs: str = "any"
    kerberos: Mapping[str, str] = _NOTHING
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Address({self.display()!r})"

    def __str__(self) -> str:
        return self.display()

    def display(self) -> str:
        """The URL in one normal form, with `***` for the password."""
        password = f":{MASK}" if self.password else ""
        hosts = ",".join(map(str, self.endpoints))
        query = urlencode(self._query(), quote_via=quote, safe="/:,=")
        return (
            f"postgresql://{quote(self.user, safe='')}{password}@{hosts}/{quote(self.database, safe='')}"
            f"{'?' if query else ''}{query}"
        )

    def _query(self) -> dict[str, str]:
        over_tcp = not all(endpoint.is_socket for endpoint in self.endpoints)
        shown = {**(self.tls.parameters if over_tcp else {}), **self.kerberos}
        if self.application_name:
            shown["application_name"] = self.application_name
        if self.connect_timeout != DEFAULT_CONNECT_TIMEOUT:
            shown["connect_timeout"] = f"{self.connect_timeout or 0:g}"
        if self.target_session_attrs != "any":
            shown["target_session_attrs"] = self.target_session_attrs
        if self.session_settings:
            shown["options"] = session.written(self.session_settings)
        return shown

    def connect_kwargs(self) -> dict[str, Any]:
        """The keywords of `asyncpg.connect`.

        The password is never None, which would make asyncpg read the password file again. Statement
        caches are off, as DDL makes cached statements invalid. Raises SettingsError when a
        certificate cannot be loaded.
        """
        kwargs: dict[str, Any] = {
            "user": self.user,
            "password": self.password or "",
            "database": self.database,
            # asyncpg counts the time for all hosts together, libpq for each.
            "timeout": None if self.connect_timeout is None else self.connect_timeout * len(self.endpoints),
            "statement_cache_size": 0,
            "target_session_attrs": self.target_session_attrs,
            **self.kerberos,
            **self.tls.connect_kwargs(),
        }
        if self.application_name:
            kwargs["server_settings"] = {"application_name": self.application_name}
        if any(endpoint.host for endpoint in self.endpoints):
            return kwargs | {
                "host": [endpoint.host for endpoint in self.endpoints],
                "port": [endpoint.port for endpoint in self.endpoints],
            }
        return kwargs | {"port": self.endpoints[0].port}

    def with_database(self, name: str) -> Address:
        """The same server and role, another database."""
        return self._replace(database=name)


def build(
    parameters: Mapping[str, str], environ: Mapping[str, str], source: str, notes: tuple[str, ...]
) -> Address:
    """An address from libpq keywords. Raises SettingsError for a value that cannot be."""
    for key in sorted(parameters.keys() & keywords.REFUSED.keys()):
        raise SettingsError(f"{source} asks for {key}: {keywords.REFUSED[key]}", hint=f"take {key} out")
    for key in sorted(parameters.keys() - keywords.SECRET):
        if "password=" in parameters[key].lower():
            # The text lost a separator: what is shown of this value would show the password.
            raise SettingsError(
                f"{source} has password= inside of its {key}", hint="put the missing separator before it"
            )
    ignored = tuple(
        f"{key} is ignored: {keywords.IGNORED[key]}" for key in parameters if key in keywords.IGNORED
    )
    endpoints = _endpoints(parameters, source)
    user = parameters.get("user") or _system_user(source)
    database = parameters.get("dbname") or ""
    if not database:
        raise no_database(source)
    password = parameters.get("password")
    password_notes: tuple[str, ...] = ()
    if not password:
        named = _named(endpoints, parameters)
        password, password_notes = password_from_file(
            parameters.get("passfile"), named, database, user, environ
        )
    settings, option_notes = session.read(parameters, source)
    return Address(
        endpoints=endpoints,
        user=user,
        password=password or None,
        database=database,
        source=source,
        tls=_tls(endpoints, parameters, environ, source),
        application_name=parameters.get("application_name") or parameters.get("fallback_application_name"),
        connect_timeout=_timeout(parameters, source),
        session_settings=MappingProxyType(settings),
        target_session_attrs=_session_attributes(parameters, source),
        kerberos=MappingProxyType(
            {key: parameters[key] for key in ("krbsrvname", "gsslib") if key in parameters}
        ),
        notes=(*notes, *ignored, *password_notes, *option_notes),
    )


def _endpoints(parameters: Mapping[str, str], source: str) -> tuple[Endpoint, ...]:
    hosts = (parameters.get("hostaddr") or parameters.get("host") or "").split(",")
    ports = parameters.get("port", "").split(",")
    if len(hosts) > 1 and not all(hosts):
        raise SettingsError(
            f"{source} has an empty host in its list of hosts", hint="take the surplus comma out"
        )
    if any(host.startswith("@") for host in hosts):
        raise SettingsError(
            f"{source} names an abstract socket, which the driver cannot reach",
            hint="use a socket in a folder",
        )
    if len(ports) not in {1, len(hosts)}:
        raise SettingsError(
            f"{source} has {len(ports)} ports for {len(hosts)} hosts",
            hint="give one port, or one for each host",
        )
    if not all(not port or is_port(port) for port in ports):
        raise bad_port(source)
    numbers = [int(port) if port else DEFAULT_PORT for port in ports]
    return tuple(map(Endpoint, hosts, numbers * len(hosts) if len(numbers) == 1 else numbers))


def _named(endpoints: tuple[Endpoint, ...], parameters: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """The endpoints as the password file calls them: by host name where there is also an address."""
    names = parameters.get("host", "").split(",")
    for position, endpoint in enumerate(endpoints):
        yield (
            (names[position] if len(names) == len(endpoints) and names[position] else endpoint.host),
            endpoint.port,
        )


def _system_user(source: str) -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise SettingsError(
            f"{source} names no user, and this process has no name to take instead",
            hint="write postgresql://USER@...",
        ) from None


def _tls(
    endpoints: tuple[Endpoint, ...], parameters: Mapping[str, str], environ: Mapping[str, str], source: str
) -> tls.Tls:
    mode = tls.read_mode(parameters, source)
    if all(endpoint.is_socket for endpoint in endpoints):
        return tls.Tls(mode="disable")  # Like libpq: nothing to encrypt on a Unix socket.
    if mode == "verify-full" and {"host", "hostaddr"} <= parameters.keys():
        raise SettingsError(
            f"{source} has host and hostaddr with sslmode=verify-full: the driver checks the certificate"
            " against what it connects to",
            hint="take hostaddr out",
        )
    return tls.read(parameters, home(environ), source)


def _timeout(parameters: Mapping[str, str], source: str) -> float | None:
    given = parameters.get("connect_timeout")
    if given is None:
        return DEFAULT_CONNECT_TIMEOUT
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise SettingsError(
            f"{source} has a connect_timeout that is not a number of seconds", hint="connect_timeout=10"
        )
    return seconds if seconds > 0 else None


def _session_attributes(parameters: Mapping[str, str], source: str) -> str:
    given = parameters.get("target_session_attrs", "any")
    if given not in _SESSION_ATTRIBUTES:
        raise SettingsError(
            f"{source} has an unknown target_session_attrs",
            hint=f"target_session_attrs is one of {', '.join(_SESSION_ATTRIBUTES)}",
        )
    return given
