"""Read pyproject.toml: the databases that it names and its settings."""

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from circle_migrate.config.databases import BUNDLED, PLATFORM, KnownDatabase
from circle_migrate.config.foreign_files import foreign_error
from circle_migrate.config.provenance import Origin, Provenance
from circle_migrate.config.settings import DatabaseSettings, Settings

_TABLE = "tool.circle-migrate"
_DATABASES_KEY = "databases"
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


def named_databases(
    table: Mapping[str, Any], path: Path, record: Provenance
) -> dict[KnownDatabase, Mapping[str, Any]]:
    """Return the databases that pyproject.toml names with their tables, or else those of the platform.

    Tables that only change settings of the platform's databases name none.
    """
    header = f"{_TABLE}.{_DATABASES_KEY}"
    tables = {
        name: _table(entries, f"{header}.{name}", path, record)
        for name, entries in _table(table.get(_DATABASES_KEY, {}), header, path, record).items()
    }
    platform = {known.name: known for known in PLATFORM}
    if tables.keys() <= platform.keys() and not any(
        entries.keys() & {"revisions", "models"} for entries in tables.values()
    ):
        tables = {name: tables.get(name, {}) for name in platform}
    else:
        platform = {name: KnownDatabase(name, known.url_variable) for name, known in platform.items()}
    named: dict[KnownDatabase, Mapping[str, Any]] = {}
    for name, entries in tables.items():
        if not _NAME.fullmatch(name):
            record.problem(
                f"{path} [{header}]: {name!r} cannot be the name of a database",
                hint="use a letter, then letters, digits, _ and -, at most 40",
            )
            continue
        known = platform.get(name) or KnownDatabase(name, f"{name.replace('-', '_').upper()}_DATABASE_URL")
        if bundled := BUNDLED.get(str(entries.get("revisions"))):
            known = bundled._replace(name=name, url_variable=known.url_variable)
        variable = entries.get("url-env", known.url_variable)
        if not isinstance(variable, str) or not variable.isidentifier():
            record.problem(
                f"url-env in {path} [{header}.{name}] is not the name of an environment variable",
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
        named[known] = entries
    return named


def read_settings(
    table: Mapping[str, Any],
    databases: Mapping[KnownDatabase, Mapping[str, Any]],
    path: Path,
    record: Provenance,
) -> dict[str, Any]:
    """Return the settings of the table [tool.circle-migrate] by key; unknown keys are problems."""
    own = {key: value for key, value in table.items() if key != _DATABASES_KEY}
    parts: list[tuple[str, type[BaseModel], Mapping[str, Any]]] = [("", Settings, own)]
    parts += [(known.key, DatabaseSettings, entries) for known, entries in databases.items()]
    values: dict[str, Any] = {}
    for beginning, model, entries in parts:
        header = f"{_TABLE}.{beginning}".rstrip(".")
        allowed = [str(field.alias) for field in model.model_fields.values() if not field.exclude]
        for key, value in entries.items():
            if key in allowed:
                origin = Origin(f"{path.name} [{header}]", f"{key} in {path} [{header}]", path.parent)
                record.origins.setdefault(f"{beginning}{key}", origin._replace(is_shared=True))
                values[f"{beginning}{key}"] = value
            else:
                _add_unknown_key(key, allowed, f"{path} [{header}]", record)
    return values


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
