"""Connection keywords of libpq, and their defaults: service file, `PG*` variables, password file."""

import re
import stat
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

# Keyword -> environment variable. PGDATABASE is omitted on purpose: one variable would name the same database
# for both URLs.
VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
}
# Keywords without a variable; PGSERVICE and PGSERVICEFILE are read first.
_SERVICE = ("service", "servicefile")
_OTHERS = ("dbname", "fallback_application_name", "hostaddr", "server_settings", "sslpassword")

# Keywords of other drivers -> keywords of libpq.
ALIASES = {"database": "dbname", "username": "user", "ssl": "sslmode", "timeout": "connect_timeout"}

_KEEPALIVES = ("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout")
_SECURITY = ("channel_binding", "gssdelegation", "gssencmode", "sslcertmode", "sslcompression", "sslsni")
_CACHES = ("max_cacheable_statement_size", "max_cached_statement_lifetime", "statement_cache_size")
_PREPARED = ("prepared_statement_cache_size", "prepared_statement_name_func")
_FIXED = (*_CACHES, *_PREPARED, "async_fallback", "client_encoding", "command_timeout")
IGNORED = {
    **dict.fromkeys((*_KEEPALIVES, *_SECURITY, "load_balance_hosts"), "the driver does not support it"),
    **dict.fromkeys(_FIXED, "circle-migrate sets it for its own connections"),
}

# Ignoring these would make the connection less secure than the URL requires.
REFUSED = {
    "replication": "a replication connection cannot run revisions",
    "require_auth": "the driver cannot restrict authentication methods",
    "requirepeer": "the driver cannot check the server's operating system user",
    "sslcrldir": "the driver reads revocation lists from one file: use sslcrl",
}

SECRET = frozenset({"password", "sslpassword"})

_TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")
_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": (*_TLS_VERSIONS, "TLSv1", "TLSv1.1"),
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
DEFAULTS = {
    "sslmode": "prefer",
    "sslnegotiation": "postgres",
    "ssl_min_protocol_version": "TLSv1.2",
    "target_session_attrs": "any",
}

KNOWN = sorted({*VARIABLES, *_SERVICE, *_OTHERS, *ALIASES, *IGNORED, *REFUSED})
_PASSWORD_FIELD = r"((?:\\.|[^:])*)(?::|$)"  # noqa: S105 - a pattern
_PRINTABLE_KEY = r"[A-Za-z][A-Za-z_.-]{1,39}"


class InvalidUrl(ValueError):
    """An invalid URL. The message follows the name of the source in a sentence, and quotes no value."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def canonical(keyword: str, *, may_be_secret: bool) -> str:
    """Return libpq's name of a keyword. Raises InvalidUrl, which hides a name that may be a password."""
    if keyword in KNOWN:
        return ALIASES.get(keyword, keyword)
    if may_be_secret or "pass" in keyword.lower() or not re.fullmatch(_PRINTABLE_KEY, keyword):
        raise InvalidUrl(
            "has an unknown parameter; it is not shown, as it could be part of a password",
            hint="percent-quote & and = in values of a URL; put values of a keyword string in single quotes",
        )
    nearest = get_close_matches(keyword.lower(), KNOWN, n=1)
    raise InvalidUrl(
        f"has the unknown parameter {keyword}" + (f"; did you mean {nearest[0]}?" if nearest else ""),
        hint=f"write {nearest[0]}, or remove {keyword}" if nearest else f"remove {keyword}",
    )


def choice(parameters: Mapping[str, str], keyword: str) -> str:
    """Return the value of an enumerated keyword, or its default. Raises InvalidUrl for an unknown value."""
    value = parameters.get(keyword)
    if value is None:
        return DEFAULTS.get(keyword, "")
    if value not in _CHOICES[keyword]:
        known = ", ".join(_CHOICES[keyword])
        raise InvalidUrl(f"has an unknown {keyword}", hint=f"{keyword} is one of {known}")
    return value


def unescape(text: str) -> str:
    """Return the text without escaping backslashes."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def home(environ: Mapping[str, str]) -> Path:
    """Return the folder of `.pgpass` and `.postgresql`; the current folder if the user has no home."""
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError:
        return Path()


def apply_libpq_defaults(given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Add the service file's parameters, then the environment's. Raises InvalidUrl for an unknown service."""
    parameters = {key: value for key, value in given.items() if value}
    service = parameters.pop("service", None)
    file = parameters.pop("servicefile", None) or environ.get("PGSERVICEFILE")
    if name := service or environ.get("PGSERVICE"):
        defaults = _read_service(name, file, environ)
        if not service:  # A variable must not name the database: see VARIABLES.
            defaults.pop("dbname", None)
        parameters = _add_defaults(parameters, defaults)
    variables = VARIABLES.items()
    return _add_defaults(parameters, {key: environ[name] for key, name in variables if environ.get(name)})


def _add_defaults(parameters: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Add the defaults; a default host does not replace a `hostaddr`, nor the reverse."""
    if "host" in parameters or "hostaddr" in parameters:
        defaults = {key: value for key, value in defaults.items() if key not in {"host", "hostaddr"}}
    return {**defaults, **parameters}


def _read_service(name: str, file: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Read a service file: https://www.postgresql.org/docs/current/libpq-pgservice.html."""
    paths = [Path(file) if file else home(environ) / ".pg_service.conf"]
    if environ.get("PGSYSCONFDIR"):
        paths.append(Path(environ["PGSYSCONFDIR"]) / "pg_service.conf")
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        section = _parse_section(name, lines, path)
        if section is not None:
            return section
    raise InvalidUrl(
        f"names a service that is in none of: {', '.join(map(str, paths))}",
        hint="add the service to one of them, or set PGSERVICEFILE to the file that has it",
    )


def _parse_section(name: str, lines: Iterable[str], path: Path) -> dict[str, str] | None:
    section: dict[str, str] | None = None
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line.startswith("["):
            if section is not None:
                break
            section = {} if line == f"[{name}]" else None
        elif section is not None and line and not line.startswith("#"):
            key, separator, value = line.partition("=")
            key = ALIASES.get(key, key)
            if not separator or key not in KNOWN or key == "service":
                raise InvalidUrl(
                    f"names a service with an error on line {number} of {path}",
                    hint="write KEYWORD=VALUE, without blanks",
                )
            section.setdefault(key, value)
    return section


def read_password_file(
    file: str | None, hosts: Iterable[tuple[str, int]], database: str, user: str, environ: Mapping[str, str]
) -> tuple[str | None, tuple[str, ...]]:
    """Return the first matching password of the password file, and notes on why the file was ignored.

    asyncpg takes one password for all hosts, so the first host with an entry determines it.
    https://www.postgresql.org/docs/current/libpq-pgpass.html
    """
    path = Path(file) if file else home(environ) / ".pgpass"
    lines: list[str] = []
    problem = None
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            problem = "it is not a regular file"
        elif mode & (stat.S_IRWXG | stat.S_IRWXO):
            problem = "group or others may access it; run chmod 0600 on it"
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        if file:
            problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
    if problem:
        return None, (f"the password file {path} is ignored: {problem}",)
    for host, port in hosts:
        names = {host, "localhost"} if not host or host.startswith("/") else {host}
        accepted = (names, {str(port)}, {database}, {user})
        for fields in (re.findall(_PASSWORD_FIELD, line) for line in lines if not line.startswith("#")):
            if len(fields) > len(accepted) and all(
                field == "*" or unescape(field) in values
                for field, values in zip(fields, accepted, strict=False)
            ):
                return unescape(fields[len(accepted)]) or None, ()
    return None, ()
