"""The address of a database, built from libpq keywords."""

import getpass
import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote, urlencode

from circle_migrate.config.url import keywords, tls
from circle_migrate.config.url.keywords import InvalidUrl, home, read_password_file, unescape
from circle_migrate.config.url.split import check_port, no_database
from circle_migrate.core.redaction import MASK

if TYPE_CHECKING:
    from circle_migrate.config.password_command import PasswordCommand

_DEFAULT_PORT = 5432
# libpq has no timeout by default; a deployment should fail before its own deadline.
_DEFAULT_CONNECT_TIMEOUT = 10.0


class Endpoint(NamedTuple):
    """A host name, IP address or socket folder ("" for libpq's default sockets), and a port."""

    host: str
    port: int

    @property
    def is_socket(self) -> bool:
        """Whether the host is a folder of Unix sockets."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        return host if self.port == _DEFAULT_PORT else f"{host}:{self.port}"


class Address(NamedTuple):
    """A database and how to connect to it; neither its repr nor `display` shows a password.

    `connect_timeout` is in seconds per host, None for no limit. `session_settings` are applied by SET after
    connecting, because poolers refuse them in the startup packet. `parameters` are the other libpq keywords
    that asyncpg understands. `notes` name parts of the URL that were ignored or corrected. With a
    `password_command` there is no password: the command prints one for each connection.
    """

    endpoints: tuple[Endpoint, ...]
    user: str
    password: str | None
    database: str
    connect_timeout: float | None
    session_settings: Mapping[str, str]
    parameters: Mapping[str, str]
    notes: tuple[str, ...]
    password_command: "PasswordCommand | None" = None

    def __repr__(self) -> str:
        return f"Address({self.display()!r})"

    @property
    def target_session_attrs(self) -> str:
        """The required kind of server, such as `read-write`."""
        return self.parameters["target_session_attrs"]

    def display(self) -> str:
        """Return the URL in normal form, with `***` for the password and without default parameters."""
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
            query["options"] = to_options(self.session_settings)
        password = f":{MASK}" if self.password else ""
        hosts = ",".join(map(str, self.endpoints))
        encoded = urlencode(query, quote_via=quote, safe="/:,=")
        return (
            f"postgresql://{quote(self.user, safe='')}{password}@{hosts}/{quote(self.database, safe='')}"
            f"{'?' if encoded else ''}{encoded}"
        )

    def connect_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of `asyncpg.connect`.

        The password is never None, or asyncpg would read the password file again. Statement caches are off,
        as DDL invalidates cached statements. Raises SettingsError if a certificate cannot be loaded.
        """
        kwargs: dict[str, Any] = {
            "dsn": f"postgresql://?{urlencode(self.parameters)}",
            "user": self.user,
            "password": self.password or "",
            "database": self.database,
            "port": [endpoint.port for endpoint in self.endpoints],
            # The timeout of asyncpg is for all hosts together, that of libpq is per host.
            "timeout": None if self.connect_timeout is None else self.connect_timeout * len(self.endpoints),
            "statement_cache_size": 0,
        }
        if any(endpoint.host for endpoint in self.endpoints):
            kwargs["host"] = [endpoint.host for endpoint in self.endpoints]
        # asyncpg falls back to no encryption only for a mode given by name.
        if self.parameters["sslmode"] not in {"disable", *tls.WEAK}:
            kwargs["ssl"] = tls.context(self.parameters)
        return kwargs

    def with_settings(self, settings: Mapping[str, str]) -> Self:
        """Return the address with these session settings, too."""
        return self._replace(session_settings={**self.session_settings, **settings})

    def with_database(self, name: str) -> Self:
        """Return the address of another database on the same server, with the same role."""
        return self._replace(database=name)


def build(parameters: Mapping[str, str], environ: Mapping[str, str], notes: tuple[str, ...]) -> Address:
    """Build an address from libpq keywords. Raises InvalidUrl for an invalid value."""
    database = parameters.get("dbname")
    if not database:
        raise no_database()
    for key in sorted(parameters.keys() & keywords.REFUSED.keys()):
        raise InvalidUrl(f"asks for {key}: {keywords.REFUSED[key]}", hint=f"remove {key}")
    for key in sorted(parameters.keys() - keywords.SECRET):
        if "password=" in parameters[key].lower():
            # A separator is missing: showing this value would show the password.
            raise InvalidUrl(
                f"has password= inside its {key}", hint="put the missing separator before password="
            )
    endpoints = _endpoints(parameters)
    user = parameters.get("user") or _system_user()
    password = parameters.get("password")
    password_notes: tuple[str, ...] = ()
    if not password:
        # The password file names hosts even if hostaddr is given.
        names = parameters.get("host", "").split(",")
        if len(names) != len(endpoints):
            names = [""] * len(endpoints)
        hosts = [(name or item.host, item.port) for name, item in zip(names, endpoints, strict=True)]
        file = parameters.get("passfile")
        password, password_notes = read_password_file(file, hosts, database, user, environ)
    settings, option_notes = _read_session_settings(parameters)
    over_tcp = not all(endpoint.is_socket for endpoint in endpoints)
    other = {
        **tls.settings(parameters, home(environ), over_tcp=over_tcp),
        "krbsrvname": parameters.get("krbsrvname"),
        "gsslib": parameters.get("gsslib"),
        "application_name": parameters.get("application_name") or parameters.get("fallback_application_name"),
        "target_session_attrs": keywords.choice(parameters, "target_session_attrs"),
    }
    ignored = [f"{key} is ignored: {keywords.IGNORED[key]}" for key in parameters if key in keywords.IGNORED]
    return Address(
        endpoints=endpoints,
        user=user,
        password=password or None,
        database=database,
        connect_timeout=_timeout(parameters),
        session_settings=settings,
        parameters={key: value for key, value in other.items() if value},
        notes=(*notes, *ignored, *password_notes, *option_notes),
    )


def _endpoints(parameters: Mapping[str, str]) -> tuple[Endpoint, ...]:
    hosts = (parameters.get("hostaddr") or parameters.get("host") or "").split(",")
    ports = parameters.get("port", "").split(",")
    if len(hosts) > 1 and not all(hosts):
        raise InvalidUrl("has an empty host in its list of hosts", hint="remove the extra comma")
    if any(host.startswith("@") for host in hosts):
        raise InvalidUrl(
            "names an abstract socket, which the driver does not support", hint="use a socket in a folder"
        )
    if len(ports) not in {1, len(hosts)}:
        raise InvalidUrl(
            f"has {len(ports)} ports for {len(hosts)} hosts", hint="write one port, or one for each host"
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
            "names no user, and the operating system user has no name",
            hint="write the user into the URL: postgresql://USER@...",
        ) from None


def _timeout(parameters: Mapping[str, str]) -> float | None:
    try:
        seconds = float(parameters.get("connect_timeout", _DEFAULT_CONNECT_TIMEOUT))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InvalidUrl(
            "has a connect_timeout that is not a number of seconds",
            hint="write for example connect_timeout=10",
        )
    return seconds if seconds > 0 else None


_OPTION = r"(?s:(?:-c\s*|--)(?P<name>[A-Za-z_][\w.-]*)=(?P<value>(?:\\.|[^\s\\])*)(?:\s+|$))"
# Neon names the branch so for clients without SNI; asyncpg supports SNI.
_NEON_OPTION = r"(?:endpoint|project)=\S*(?:\s+|$)"
_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?"
_HINT = "write options=-c%20name%3Dvalue"


def _read_session_settings(parameters: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the settings by name, and notes. Raises InvalidUrl for other options."""
    settings: dict[str, str] = {}
    notes: list[str] = []
    rest = parameters.get("options", "").strip()
    while rest:
        if match := re.match(_NEON_OPTION, rest):
            notes.append("endpoint in options is ignored: the driver names the host by SNI")
        elif match := re.match(_OPTION, rest):
            # The server converts a dash in a name to an underscore.
            settings[match["name"].replace("-", "_")] = unescape(match["value"])
        else:
            raise InvalidUrl("has options other than -c name=value", hint=_HINT)
        rest = rest[match.end() :]
    settings |= _server_settings(parameters.get("server_settings", "{}"))
    if not all(re.fullmatch(_NAME, name) for name in settings):
        raise InvalidUrl("has an invalid name of a setting in its options or server_settings", hint=_HINT)
    return settings, tuple(notes)


def to_options(settings: Mapping[str, str]) -> str:
    """Return the settings as a value of `options`."""
    return " ".join(f"-c {name}=" + re.sub(r"([\s\\])", r"\\\1", value) for name, value in settings.items())


def _server_settings(text: str) -> dict[str, str]:
    try:
        settings = json.loads(text)
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
        raise InvalidUrl("has server_settings that are not a JSON object of strings", hint=_HINT)
    return settings
