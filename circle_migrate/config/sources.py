"""Sources of settings: each function records the values of one source, with their exact origin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from circle_migrate.config.databases import DATABASES
from circle_migrate.config.fields import DEFAULTS, PREFIX, SAFE_FOLDERS, URL_VARIABLES, variables
from circle_migrate.config.provenance import DEFAULT_SECRETS, Origin, Provenance, read_text
from circle_migrate.config.pyproject import flatten
from circle_migrate.core.errors import SettingsError

_SIMILARITY = 0.75
"""Similarity (0 to 1, without the prefix) from which a variable counts as a misspelt setting."""


def flags(given: Mapping[str, object], record: Provenance, folder: Path) -> None:
    """Record the flags of the command line that are not None."""
    for name, value in given.items():
        if value is not None:
            flag = f"--{name.replace('_', '-')}"
            record.add(name, value, Origin(f"flag {flag}", f"flag {flag}", folder, is_flag=True))


def environment(environ: Mapping[str, str], record: Provenance, cwd: Path) -> None:
    """Record the environment variables of the process."""
    given = {name: value for name, value in environ.items() if name != SAFE_FOLDERS}
    _variables(given, record, lambda name: Origin(f"environment {name}", f"{name} in the environment", cwd))


def env_file(path: Path, record: Provenance, cwd: Path) -> None:
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
    from difflib import get_close_matches

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


def pyproject(table: Mapping[str, Any], path: Path, record: Provenance) -> None:
    """Record the table [tool.circle-migrate] of a pyproject.toml; unknown keys are problems."""
    values, locations = flatten(table, str(path), record)
    for name, value in values.items():
        key, header = locations[name]
        label, subject = f"{path.name} [{header}]", f"{key} in {path} [{header}]"
        record.add(name, value, Origin(label, subject, path.parent, is_shared=True))


def secrets(record: Provenance) -> None:
    """Record the folder of secret files: the setting `secrets_dir`, or else /run/secrets."""
    folder = _secrets_folder(record)
    if folder is not None and _may_have_settings(folder):
        from circle_migrate.config import secret_files

        secret_files.read(folder, record)


def _secrets_folder(record: Provenance) -> Path | None:
    setting = record.values.get("secrets_dir")
    if isinstance(setting, str | Path):
        return record.origins["secrets_dir"].folder / Path(setting).expanduser()
    try:
        next(DEFAULT_SECRETS.iterdir(), None)
    except OSError:
        return None
    return DEFAULT_SECRETS


def _may_have_settings(folder: Path) -> bool:
    """Return whether a file has the name of a setting, or the folder cannot be read."""
    try:
        names = {entry.name.lower() for entry in folder.iterdir()}
    except OSError:
        return True
    return any(variable.lower() in names for field in DEFAULTS for variable in variables(field))
