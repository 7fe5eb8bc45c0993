"""The places where settings stand: each function puts on record what its place says, and where exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from circle_migrate.config.databases import DATABASES
from circle_migrate.config.fields import DEFAULTS, PREFIX, variables
from circle_migrate.config.provenance import DEFAULT_SECRETS, Origin, Provenance, read_text
from circle_migrate.config.pyproject import flattened
from circle_migrate.core.errors import SettingsError


def flags(given: Mapping[str, object], record: Provenance, folder: Path) -> None:
    """What the command line says; a flag that was not given is None."""
    for name, value in given.items():
        if value is not None:
            flag = f"--{name.replace('_', '-')}"
            record.add(name, value, Origin(f"flag {flag}", f"flag {flag}", folder, is_flag=True))


def environment(environ: Mapping[str, str], record: Provenance, cwd: Path) -> None:
    """The process's environment."""

    def origin(name: str) -> Origin:
        return Origin(f"environment {name}", f"{name} in the environment", cwd)

    _variables(environ, record, origin)


def env_file(path: Path, record: Provenance, cwd: Path) -> None:
    """A .env file in the dialect of python-dotenv; a missing file is an empty one."""
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
        written = binding.original.string
        line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        if binding.key is not None:
            pairs.append((binding.key, binding.value))
            lines[binding.key] = line
        elif binding.error and any(
            name in written for name in (PREFIX, *(known.url_variable for known in DATABASES))
        ):
            record.problem(
                f"line {line} of {path} cannot be read",
                hint="write NAME=VALUE, with a closing quote for every opening one",
            )

    def origin(name: str) -> Origin:
        shown = ".env" if path.parent == cwd else str(path)
        line = lines[name]
        return Origin(f"file {shown} line {line}", f"{name} on line {line} of {shown}", path.parent)

    _variables(resolve_variables(pairs, override=True), record, origin)


def _variables(pairs: Mapping[str, str | None], record: Provenance, origin: Callable[[str], Origin]) -> None:
    """NAME=VALUE pairs, and the files which `*_URL_FILE` names; an empty value counts as none.

    What looks like ours and is not goes on record, too.
    """
    names = {name.lower(): name for name, value in pairs.items() if value and value.strip()}
    given = set()
    for field in DEFAULTS:
        name = next(
            (names[variable.lower()] for variable in variables(field) if variable.lower() in names), None
        )
        if name is not None:
            given.add(field)
            record.add(field, pairs[name], origin(name))
    for known in DATABASES:
        name = names.get(f"{known.url_variable}_FILE".lower())
        if name is None:
            continue
        place = origin(name)
        if known.url_field in given:
            record.problem(
                f"{place.subject} and {known.url_variable} are both set",
                hint=f"unset {known.url_variable} or {name}",
            )
        else:
            _url_file(known.url_field, (pairs[name] or "").strip(), place, record)
    ours = [name for lowered, name in names.items() if lowered.startswith(PREFIX.lower())]
    if ours:
        from circle_migrate.config import unknown_variables

        unknown_variables.note(ours, record, origin)


def _url_file(field: str, written: str, place: Origin, record: Provenance) -> None:
    # Read by `load` once it is known that this file is the one that counts.
    path = place.folder / Path(written).expanduser()
    origin = Origin(
        f"file {path} ({place.label})", f"the file {path} that {place.subject} names", place.folder, file=path
    )
    record.add(field, str(path), origin)


def pyproject(table: Mapping[str, Any], path: Path, record: Provenance) -> None:
    """The table [tool.circle-migrate] of a pyproject.toml; unknown keys are problems."""
    values, places = flattened(table, str(path), record)
    for name, value in values.items():
        key, header = places[name]
        shown, said = f"{path.name} [{header}]", f"{key} in {path} [{header}]"
        record.add(name, value, Origin(shown, said, path.parent, is_shared=True))


def secrets(record: Provenance) -> None:
    """A folder of secret files: the one that a stronger place names, or else the usual one."""
    folder = _secrets_folder(record)
    if folder is not None and _may_hold_ours(folder):
        from circle_migrate.config import secret_files

        secret_files.read(folder, record)


def _secrets_folder(record: Provenance) -> Path | None:
    given = record.values.get("secrets_dir")
    if isinstance(given, str | Path):
        return record.origins["secrets_dir"].folder / Path(given).expanduser()
    try:
        next(DEFAULT_SECRETS.iterdir(), None)
    except OSError:
        return None
    return DEFAULT_SECRETS


def _may_hold_ours(folder: Path) -> bool:
    """Whether there is a file that could be a setting, or something is wrong with the folder."""
    try:
        names = {entry.name.lower() for entry in folder.iterdir()}
    except OSError:
        return True
    return any(variable.lower() in names for field in DEFAULTS for variable in variables(field))
