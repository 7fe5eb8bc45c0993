"""Defaults of connection parameters as in libpq: service file, `PG*` variables, password file."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from circle_migrate.config.url import keywords
from circle_migrate.config.url.keywords import InvalidUrl, unescape

_PASSWORD_FIELD = r"((?:\\.|[^:])*)(?::|$)"  # noqa: S105 - a pattern


def home(environ: Mapping[str, str]) -> Path:
    """Return the folder of `.pgpass` and `.postgresql`; the current folder if the user has no home."""
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError:
        return Path()


def apply_libpq_defaults(given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Add parameters from the service file, then from the environment, as libpq does.

    Raises InvalidUrl for an unknown service.
    """
    parameters = {key: value for key, value in given.items() if value}
    service = parameters.pop("service", None)
    file = parameters.pop("servicefile", None) or environ.get("PGSERVICEFILE")
    if name := service or environ.get("PGSERVICE"):
        defaults = _read_service(name, file, environ)
        if not service:  # A variable must not name the database: see keywords.VARIABLES.
            defaults.pop("dbname", None)
        parameters = _add_defaults(parameters, defaults)
    variables = keywords.VARIABLES.items()
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
            key = keywords.ALIASES.get(key, key)
            if not separator or key not in keywords.KNOWN or key == "service":
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
