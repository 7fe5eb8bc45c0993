"""Read all sources of settings in order, record the exact origin of each value, and validate the values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from circle_migrate.config import fields
from circle_migrate.config.fields import DATABASES, DEFAULTS, PREFIX, SHARED, URL_VARIABLES, variables
from circle_migrate.config.provenance import DEFAULT_SECRETS, Origin, Provenance, read_text
from circle_migrate.core.errors import SettingsError

_IDENTIFIERS = ("version_table", "version_table_schema")
_TABLE = "tool.circle-migrate"
_DATABASES_KEY = "databases"
_SIMILARITY = 0.75
"""Similarity (0 to 1, without the prefix) from which a variable counts as a misspelt setting."""


def collect(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Provenance:
    """Read all sources; invalid values become problems. Raises SettingsError for a file of another user."""
    record = Provenance()
    tables, root = _read_pyproject(cwd, environ, record)
    for name, value in flags.items():
        if value is not None:
            flag = f"flag --{name.replace('_', '-')}"
            record.add(name, value, Origin(flag, flag, cwd, is_flag=True))
    given = {name: value for name, value in environ.items() if name != fields.SAFE_FOLDERS}
    _variables(given, record, lambda name: Origin(f"environment {name}", f"{name} in the environment", cwd))
    env_file = _find_env_file(cwd, root)
    if env_file.exists() and (owner := _foreign_owner(env_file, cwd, environ)) is not None:
        raise _foreign(env_file, owner)
    _env_file(env_file, record, cwd)
    _pyproject(tables.get("circle-migrate", {}), root / "pyproject.toml", record)
    _secrets(record)
    record.values, record.project_root = _validate(record), root
    alembic = tables.get("alembic")
    record.alembic = alembic if isinstance(alembic, dict) else {}
    return record


def _find_env_file(cwd: Path, root: Path) -> Path:
    """Return the nearest .env from the current folder up to the project's, or the project's own path."""
    folders = [folder for folder in (cwd, *cwd.parents) if folder.is_relative_to(root)]
    return next((path for folder in folders if (path := folder / ".env").exists()), root / ".env")


def _foreign_owner(path: Path, cwd: Path, environ: Mapping[str, str]) -> int | None:
    """Return the other user who could have written the file or moved it there, None if there is none.

    As for git, a file of this user, of root or, under sudo, of the calling user is safe. In the current
    folder a file of the folder's owner is safe, too: a checkout in a container often has another owner.
    """
    user = os.geteuid()
    safe = {user, 0}
    if user == 0 and environ.get("SUDO_UID", "").isdecimal():
        safe.add(int(environ["SUDO_UID"]))
    folder = path.parent.stat().st_uid
    if path.parent == cwd:
        safe.add(folder)
    foreign = {folder, path.lstat().st_uid, path.stat().st_uid} - safe
    trusted = filter(None, environ.get(fields.SAFE_FOLDERS, "").split(os.pathsep))
    if not foreign or any(text == "*" or Path(text).resolve() == path.parent for text in trusted):
        return None
    return foreign.pop()


def _foreign(path: Path, owner: int) -> SettingsError:
    user = os.geteuid()
    return SettingsError(
        f"{path} is not read: it or its folder belongs to another user (uid {owner}; yours is {user})",
        state="nothing was changed",
        hint=f"if you trust that user, set {fields.SAFE_FOLDERS}={path.parent} in the environment (* trusts"
        " every folder), as is needed in a container whose checkout belongs to another user",
    )


def _validate(record: Provenance) -> dict[str, Any]:
    """Return all settings; pydantic is imported only if a value needs more than `_is_plain` checks."""
    if all(_is_plain(name, value) for name, value in record.values.items()):
        return DEFAULTS | record.values
    from circle_migrate.config.schema import validate

    return validate(record)


def _is_plain(name: str, value: object) -> bool:
    """Return whether pydantic would accept the value unchanged: a URL, a boolean, or text of normal form."""
    if name in fields.BOOLEAN_FIELDS:
        return isinstance(value, bool)
    if not isinstance(value, str) or name.endswith("journal_schema"):  # some names are reserved
        return False
    is_normal = value.isprintable() and value == value.strip() != ""
    longest = fields.MAX_IDENTIFIER_LENGTH if name.endswith(_IDENTIFIERS) else len(value)
    is_text = name in fields.TEXT_FIELDS and is_normal and len(value) <= longest
    return is_text or name in (*URL_VARIABLES, "scratch_url")  # `load` parses URLs


def _read_pyproject(
    cwd: Path, environ: Mapping[str, str], record: Provenance
) -> tuple[Mapping[str, Any], Path]:
    """Return [tool] of the nearest pyproject.toml with [tool.circle-migrate], and the project's folder.

    A file of another user without that table is no project.
    """
    nearest: Path | None = None
    for folder in (cwd, *cwd.parents):
        path = folder / "pyproject.toml"
        if not path.is_file():
            continue
        import tomllib

        if (owner := _foreign_owner(path, cwd, environ)) is not None:
            if os.access(path, os.R_OK) and b"circle-migrate" not in path.read_bytes():
                continue
            raise _foreign(path, owner)
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


def _env_file(path: Path, record: Provenance, cwd: Path) -> None:
    """Record a .env file in the dialect of python-dotenv; the file may be missing."""
    try:
        text = read_text(path, f"the file {path}") if path.exists() else ""
    except SettingsError as error:
        record.problems.append(error)
        return
    if not text:
        return
    from dotenv.main import resolve_variables
    from dotenv.parser import parse_stream

    pairs: list[tuple[str, str | None]] = []
    lines: dict[str, int] = {}
    for binding in parse_stream(StringIO(text)):
        source = binding.original.string
        line = binding.original.line + source[: len(source) - len(source.lstrip())].count("\n")
        if binding.key is not None:
            pairs.append((binding.key, binding.value))
            lines[binding.key] = line
        elif binding.error and any(name in source for name in (PREFIX, *URL_VARIABLES.values())):
            record.problem(
                f"line {line} of {path} cannot be read",
                hint="write NAME=VALUE, with a closing quote for every opening one",
            )

    def origin(name: str) -> Origin:
        file = ".env" if path.parent == cwd else str(path)
        line = lines[name]
        return Origin(f"file {file} line {line}", f"{name} on line {line} of {file}", path.parent)

    _variables(resolve_variables(pairs, override=True), record, origin)


def _variables(pairs: Mapping[str, str | None], record: Provenance, origin: Callable[[str], Origin]) -> None:
    """Record NAME=VALUE pairs and the files that `*_URL_FILE` names; empty values are ignored."""
    names = {name.lower(): name for name, value in pairs.items() if value and value.strip()}
    recorded = set()
    for field in DEFAULTS:
        name = next(
            (names[variable.lower()] for variable in variables(field) if variable.lower() in names), None
        )
        if name is not None:
            recorded.add(field)
            record.add(field, pairs[name], origin(name))
    for known in DATABASES:
        name = names.get(f"{known.url_variable}_FILE".lower())
        if name is None:
            continue
        variable = origin(name)
        if known.url_field in recorded:
            record.problem(
                f"{variable.subject} and {known.url_variable} are both set",
                hint=f"unset {known.url_variable} or {name}",
            )
        else:
            # `load` reads the file if no source of higher precedence sets the URL.
            path = variable.folder / Path((pairs[name] or "").strip()).expanduser()
            subject = f"the file {path} that {variable.subject} names"
            url_origin = Origin(f"file {path} ({variable.label})", subject, variable.folder, file=path)
            record.add(known.url_field, str(path), url_origin)
    prefixed = [name for lowered, name in names.items() if lowered.startswith(PREFIX.lower())]
    if prefixed:
        _record_unknown(prefixed, record, origin)


def _record_unknown(names: Iterable[str], record: Provenance, origin: Callable[[str], Origin]) -> None:
    """Record the variables that belong to no setting.

    They are no errors: Kubernetes sets CIRCLE_MIGRATE_PORT for a service that is called circle-migrate. Only
    names that resemble a setting's are shown by every command.
    """
    settings = {variable for field in DEFAULTS for variable in variables(field)}
    candidates = [variables(field)[0] for field in DEFAULTS]
    candidates += [f"{known.url_variable}_FILE" for known in DATABASES]
    by_suffix = {name.removeprefix(PREFIX): name for name in candidates}
    for name in (name for name in names if name.upper() not in settings):
        message = f"{origin(name).subject} sets nothing"
        suffix = name.upper().removeprefix(PREFIX)
        nearest = get_close_matches(suffix, by_suffix, n=1, cutoff=_SIMILARITY)
        if nearest:
            record.misspelt.append(f"{message}; did you mean {by_suffix[nearest[0]]}?")
        else:
            record.unknown.append(f"{message}: there is no such setting")


def _pyproject(table: Mapping[str, Any], path: Path, record: Provenance) -> None:
    """Record the table [tool.circle-migrate] of a pyproject.toml; unknown keys are problems."""

    def add(entries: Mapping[str, Any], names: Iterable[str], header: str, prefix: str) -> None:
        by_key = {name.replace("_", "-"): f"{prefix}{name}" for name in names}
        for key, value in entries.items():
            if key in by_key:
                label, subject = f"{path.name} [{header}]", f"{key} in {path} [{header}]"
                record.add(by_key[key], value, Origin(label, subject, path.parent, is_shared=True))
            else:
                allowed = tuple(by_key) if prefix else (*by_key, _DATABASES_KEY)
                _add_unknown_key(key, allowed, f"{path} [{header}]", record)

    add({key: value for key, value in table.items() if key != _DATABASES_KEY}, SHARED, _TABLE, "")
    header = f"{_TABLE}.{_DATABASES_KEY}"
    names = tuple(known.name for known in DATABASES)
    for name, entries in _table(table.get(_DATABASES_KEY, {}), header, path, record).items():
        if name in names:
            nested = f"{header}.{name}"
            table = _table(entries, nested, path, record)
            if "revisions" in table:
                record.declared.add(name)
            add(table, fields.DATABASE_FIELDS, nested, f"{name}_")
        else:
            _add_unknown_key(name, names, f"{path} [{header}]", record)


def _table(value: object, header: str, path: Path, record: Provenance) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    record.problem(f"{header} in {path} is not a table", hint=f"write [{header}] and its keys below")
    return {}


def _add_unknown_key(key: str, allowed: tuple[str, ...], table: str, record: Provenance) -> None:
    if key.replace("-", "_").lower() in {known.url_field for known in DATABASES}:
        record.problem(
            f"{table} has {key}: a URL with a password does not belong in a file under version control",
            hint=f"set {key.replace('-', '_').upper()} in the environment or in .env",
        )
        return
    nearest = get_close_matches(key.lower(), allowed, n=1)
    record.problem(
        f"{table} has the unknown key {key}{f'; did you mean {nearest[0]}?' if nearest else ''}",
        hint=f"write {nearest[0]}" if nearest else f"the keys are {', '.join(sorted(allowed))}",
    )


def _secrets(record: Provenance) -> None:
    """Record the folder of secret files: the setting `secrets_dir`, or else /run/secrets if it exists."""
    setting, folder = record.values.get("secrets_dir"), DEFAULT_SECRETS
    if is_set := isinstance(setting, str | Path):
        folder = record.origins["secrets_dir"].folder / Path(setting).expanduser()
    try:
        names = {entry.name.lower() for entry in folder.iterdir()}
        relevant = any(variable.lower() in names for field in DEFAULTS for variable in variables(field))
    except OSError:
        relevant = is_set  # to report it
    if relevant:
        from circle_migrate.config.schema import read_secret_files

        read_secret_files(folder, record)
