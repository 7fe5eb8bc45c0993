"""Read pyproject.toml: the databases that it names, its settings, and those of its environments."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from circle_migrate.config.databases import BUNDLED, PLATFORM, KnownDatabase
from circle_migrate.config.foreign_files import foreign_error
from circle_migrate.config.provenance import Origin, Provenance
from circle_migrate.config.settings import DatabaseSettings, Settings

_TABLE = "tool.circle-migrate"
_DATABASES_KEY = "databases"
_ENVIRONMENTS_KEY = "env"
_NAME = re.compile(r"[A-Za-z][\w-]{0,39}", re.ASCII)
"""A database's name: @, +, : mean something in targets, and the embedded server adds `circle_`."""


def read_pyproject(cwd: Path, record: Provenance) -> tuple[Mapping[str, Any], Path]:
    """Return [tool] of the nearest pyproject.toml with [tool.circle-migrate], and the project's folder.

    A file of another user without that table is no project.
    """
    nearest: Path | None = None
    for folder in (cwd, *cwd.parents):
        path = folder / "pyproject.toml"
        if not path.is_file():
            continue
        import tomllib

        if error := foreign_error(path, cwd, record.environ):
            if os.access(path, os.R_OK) and b"circle-migrate" not in path.read_bytes():
                continue
            raise error
        nearest = nearest or folder
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            record.problem(f"{path} is not valid TOML", detail=str(error), hint=f"correct {path}")
            break
        except (OSError, UnicodeDecodeError):
            record.problem(f"{path} cannot be read", hint=f"make {path} a readable UTF-8 file")
            break
        tables = document.get("tool")
        table = tables.get("circle-migrate") if isinstance(tables, dict) else tables
        if isinstance(tables, dict) and isinstance(table, dict):
            return tables, folder
        if table is not None:
            record.problem(
                f"[tool.circle-migrate] in {path} is not a table", hint="write [tool.circle-migrate]"
            )
            break
    return {}, nearest or cwd


class SettingsTable(NamedTuple):
    """A table of settings: its header, its own entries, and those of databases by name."""

    header: str
    entries: Mapping[str, Any]
    databases: Mapping[str, Mapping[str, Any]]


def settings_tables(
    table: Mapping[str, Any], path: Path, record: Provenance
) -> tuple[SettingsTable, dict[str, SettingsTable]]:
    """Return the table [tool.circle-migrate] and the tables of environments, which override it, by name."""
    entries = {key: value for key, value in table.items() if key != _ENVIRONMENTS_KEY}
    header = f"{_TABLE}.{_ENVIRONMENTS_KEY}"
    environments = {
        name: _settings_table(
            _table(value, f"{header}.{name}", path, record), f"{header}.{name}", path, record
        )
        for name, value in _table(table.get(_ENVIRONMENTS_KEY, {}), header, path, record).items()
    }
    return _settings_table(entries, _TABLE, path, record), environments


def _settings_table(table: Mapping[str, Any], header: str, path: Path, record: Provenance) -> SettingsTable:
    below = f"{header}.{_DATABASES_KEY}"
    databases = {
        name: _table(entries, f"{below}.{name}", path, record)
        for name, entries in _table(table.get(_DATABASES_KEY, {}), below, path, record).items()
    }
    return SettingsTable(header, {k: v for k, v in table.items() if k != _DATABASES_KEY}, databases)


def named_databases(
    table: SettingsTable, environment: SettingsTable | None, path: Path, record: Provenance
) -> tuple[KnownDatabase, ...]:
    """Return the databases that pyproject.toml names, or else those of the platform.

    Tables that only change settings of the platform's databases name none, nor do tables of an environment.
    """
    header = f"{_TABLE}.{_DATABASES_KEY}"
    tables = table.databases
    platform = {known.name: known for known in PLATFORM}
    if tables.keys() <= platform.keys() and not any(
        entries.keys() & {"revisions", "models"} for entries in tables.values()
    ):
        tables = {name: tables.get(name, {}) for name in platform}
    else:
        platform = {name: KnownDatabase(name, known.url_variable) for name, known in platform.items()}
    named: list[KnownDatabase] = []
    for name, own in tables.items():
        if not _NAME.fullmatch(name):
            record.problem(
                f"{path} [{header}]: {name!r} cannot be the name of a database",
                hint="use a letter, then letters, digits, _ and -, at most 40",
            )
            continue
        overrides = environment.databases.get(name, {}) if environment else {}
        entries = {**own, **overrides}
        known = platform.get(name) or KnownDatabase(name, f"{name.replace('-', '_').upper()}_DATABASE_URL")
        if bundled := BUNDLED.get(str(entries.get("revisions"))):
            known = bundled._replace(name=name, url_variable=known.url_variable)
        variable = entries.get("url-env", known.url_variable)
        if not isinstance(variable, str) or not variable.isidentifier():
            place = environment.header if environment and "url-env" in overrides else _TABLE
            place = f"[{place}.{_DATABASES_KEY}.{name}]"
            record.problem(
                f"url-env in {path} {place} is not the name of an environment variable",
                hint=f'write for example url-env = "{known.url_variable}"',
            )
            continue
        known = known._replace(url_variable=variable)
        for other in named:
            if other.prefix == known.prefix or other.url_variable.lower() == variable.lower():
                record.problem(
                    f"{path} [{header}]: {other.name} and {name} have the same environment variables",
                    hint="give one of them another name, or another `url-env`",
                )
        named.append(known)
    return tuple(named)


def read_settings(table: SettingsTable, path: Path, record: Provenance) -> dict[str, Any]:
    """Return the settings of a table by key; unknown keys and databases are problems."""
    values: dict[str, Any] = {}
    for key, value, header in _known_entries(table, path, record):
        name = key.rpartition(".")[2]
        origin = Origin(f"{path.name} [{header}]", f"{name} in {path} [{header}]", path.parent)
        record.origins.setdefault(key, origin._replace(is_shared=True))
        values[key] = value
    return values


def check_settings(table: SettingsTable, path: Path, record: Provenance) -> None:
    """Record the unknown keys and databases of an environment, also of one that is not used."""
    for _ in _known_entries(table, path, record):
        pass
    names = [known.name for known in record.databases]
    for name in table.databases.keys() - {*names}:
        record.problem(
            f"{path} [{table.header}.{_DATABASES_KEY}]: there is no database {name!r}",
            hint=f"the databases are {', '.join(names)}; an environment cannot add one",
        )


def _known_entries(table: SettingsTable, path: Path, record: Provenance) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and header of the known entries."""
    parts: list[tuple[str, type[BaseModel], Mapping[str, Any]]] = [("", Settings, table.entries)]
    parts += [
        (known.key, DatabaseSettings, table.databases.get(known.name, {})) for known in record.databases
    ]
    for beginning, model, entries in parts:
        header = f"{table.header}.{beginning}".rstrip(".")
        allowed = _keys(model) + ([_ENVIRONMENTS_KEY] if header == _TABLE else [])
        for key, value in entries.items():
            if key in allowed:
                yield f"{beginning}{key}", value, header
            elif key in _keys(Settings) + _keys(DatabaseSettings):
                right = table.header if beginning else f"{table.header}.{_DATABASES_KEY}.NAME"
                owner = "the project" if beginning else "a database"
                record.problem(
                    f"{path} [{header}] has {key}, a setting of {owner}", hint=f"write it in [{right}]"
                )
            else:
                _add_unknown_key(key, allowed, f"{path} [{header}]", record)


def _keys(model: type[BaseModel]) -> list[str]:
    return [str(field.alias) for field in model.model_fields.values() if not field.exclude]


def _table(value: object, header: str, path: Path, record: Provenance) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    record.problem(f"{header} in {path} is not a table", hint=f"write [{header}] and its keys below")
    return {}


def _add_unknown_key(key: str, allowed: Sequence[str], table: str, record: Provenance) -> None:
    name = key.replace("-", "_").upper()
    if name == "URL" or name in {known.url_variable.upper() for known in record.databases}:
        record.problem(
            f"{table} has {key}: a URL with a password does not belong in a file under version control",
            hint="set it in the environment or in .env; `config show --all` lists the variables",
        )
        return
    nearest = get_close_matches(key.lower(), allowed, n=1)
    record.problem(
        f"{table} has the unknown key {key}{f'; did you mean {nearest[0]}?' if nearest else ''}",
        hint=f"write {nearest[0]}" if nearest else f"the keys are {', '.join(sorted(allowed))}",
    )
