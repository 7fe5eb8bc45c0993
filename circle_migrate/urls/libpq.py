"""What libpq adds to a text that leaves something open: service file, `PG*` variables, password file.

asyncpg reads some of these itself, but neither the service file when called with keywords, nor
escapes in the password file (MagicStack/asyncpg#1249).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from circle_migrate.errors import SettingsError
from circle_migrate.urls import keywords
from circle_migrate.urls.text import no_database

_SERVICE_FILE = ".pg_service.conf"
_PASSWORD_FILE = ".pgpass"  # noqa: S105 - a file's name
_PASSWORD_FIELD = r"((?:\\.|[^:])*)(?::|$)"  # noqa: S105 - a pattern


def home(environ: Mapping[str, str]) -> Path:
    """The folder of `.pgpass` and `.postgresql`; the working directory where there is no home."""
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError:
        return Path()


def add_surroundings(given: Mapping[str, str], environ: Mapping[str, str], source: str) -> dict[str, str]:
    """The parameters filled from the service file, then from the environment, as libpq does.

    Raises SettingsError for a service that is not found and for a missing database name.
    """
    parameters = {key: value for key, value in given.items() if value}
    service = parameters.pop("service", None)
    if service or environ.get("PGSERVICE"):
        found = _service(
            service or environ["PGSERVICE"], parameters.pop("servicefile", None), environ, source
        )
        if not service:  # A variable does not choose the database: see keywords.UNDERSTOOD.
            found.pop("dbname", None)
        parameters = _filled(parameters, found)
    if "dbname" not in parameters:
        raise no_database(source)
    variables = {
        key: environ[name] for key, name in keywords.UNDERSTOOD.items() if name and environ.get(name)
    }
    return _filled(parameters, variables)


def _filled(parameters: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """`parameters` with what is missing from `more`; no second host beside a `hostaddr`, or the reverse."""
    if "host" in parameters or "hostaddr" in parameters:
        more = {key: value for key, value in more.items() if key not in {"host", "hostaddr"}}
    return {**more, **parameters}


# The service file: https://www.postgresql.org/docs/current/libpq-pgservice.html


def _service(name: str, file: str | None, environ: Mapping[str, str], source: str) -> dict[str, str]:
    named = file or environ.get("PGSERVICEFILE")
    candidates = [Path(named) if named else home(environ) / _SERVICE_FILE]
    if environ.get("PGSYSCONFDIR"):
        candidates.append(Path(environ["PGSYSCONFDIR"]) / "pg_service.conf")
    for path in candidates:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        section = _section(name, lines, f"the service file {path}")
        if section is not None:
            return section
    raise SettingsError(
        f"{source} asks for a service that is in none of: {', '.join(map(str, candidates))}",
        hint="add the service there, or set PGSERVICEFILE to the file that has it",
    )


def _section(name: str, lines: Iterable[str], source: str) -> dict[str, str] | None:
    found: dict[str, str] | None = None
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if found is not None:
                break
            found = {} if line == f"[{name}]" else None
        elif found is not None:
            key, separator, value = line.partition("=")
            key = keywords.ALIASES.get(key, key)
            if not separator or not keywords.is_known(key) or key == "service":
                raise SettingsError(
                    f"{source} has an error on line {number}", hint="write KEYWORD=VALUE, without blanks"
                )
            found.setdefault(key, value)
    return found


# The password file: https://www.postgresql.org/docs/current/libpq-pgpass.html


def password_from_file(
    file: str | None,
    endpoints: Iterable[tuple[str, int]],
    database: str,
    user: str,
    environ: Mapping[str, str],
) -> tuple[str | None, tuple[str, ...]]:
    """The first matching password of the password file, and why the file was not read if it was not.

    asyncpg takes one password for all hosts, so the first host with an entry decides.
    """
    path = Path(file) if file else home(environ) / _PASSWORD_FILE
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return None, (f"the password file {path} was ignored: not a plain file",)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            return None, (
                f"the password file {path} was ignored: group or others may access it (chmod 0600)",
            )
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        return None, (f"the password file {path} was ignored: {why}",) if file else ()
    entries = [_fields(line) for line in lines if line and not line.startswith("#")]
    for host, port in endpoints:
        names = {host, "localhost"} if not host or host.startswith("/") else {host}
        for entry in entries:
            if len(entry) > len(_WANTED) and all(
                field == "*" or _plain(field) in wanted
                for field, wanted in zip(entry, (names, {str(port)}, {database}, {user}), strict=False)
            ):
                return _plain(entry[len(_WANTED)]) or None, ()
    return None, ()


_WANTED = ("host", "port", "database", "user")


def _fields(line: str) -> list[str]:
    return re.findall(_PASSWORD_FIELD, line)


def _plain(field: str) -> str:
    """The field without its escapes: a backslash before a colon or a backslash."""
    return re.sub(r"\\(.)", r"\1", field)
