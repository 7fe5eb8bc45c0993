"""Read all sources of settings in order, record the exact origin of each value, and validate the values."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from circle_migrate.config import fields
from circle_migrate.config.fields import PREFIX, Fields
from circle_migrate.config.provenance import DEFAULT_SECRETS, Origin, Provenance, read_text
from circle_migrate.config.pyproject import foreign_error, named_databases, read_pyproject, record_settings
from circle_migrate.core.errors import SettingsError

_IDENTIFIERS = ("version_table", "version_table_schema")
_SIMILARITY = 0.75
"""Similarity (0 to 1, without the prefix) from which a variable counts as a misspelt setting."""


def collect(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Provenance:
    """Read all sources; invalid values become problems. Raises SettingsError for a file of another user."""
    record = Provenance()
    tables, root = read_pyproject(cwd, environ, record)
    table, pyproject = tables.get("circle-migrate", {}), root / "pyproject.toml"
    named = named_databases(table, pyproject, record)
    record.fields = Fields(tuple(named))
    _flags(flags, record, cwd)
    given = {name: value for name, value in environ.items() if name != fields.SAFE_FOLDERS}
    _variables(given, record, lambda name: Origin(f"environment {name}", f"{name} in the environment", cwd))
    folders = [folder for folder in (cwd, *cwd.parents) if folder.is_relative_to(root)]
    env_file = next((path for folder in folders if (path := folder / ".env").exists()), root / ".env")
    if env_file.exists() and (error := foreign_error(env_file, cwd, environ)):
        raise error
    _env_file(env_file, record, cwd)
    record_settings(table, named, pyproject, record)
    _secrets(record)
    record.values, record.project_root = _validate(record), root
    alembic = tables.get("alembic")
    record.alembic = alembic if isinstance(alembic, dict) else {}
    return record


def _validate(record: Provenance) -> dict[str, Any]:
    """Return all settings; pydantic is imported only if a value needs more than `_is_plain` checks."""
    if all(_is_plain(record.fields, name, value) for name, value in record.values.items()):
        return record.fields.defaults | record.values
    from circle_migrate.config.schema import validate

    return validate(record)


def _is_plain(known: Fields, name: str, value: object) -> bool:
    """Return whether pydantic would accept the value unchanged: a URL, a boolean, or text of normal form."""
    if name in known.booleans:
        return isinstance(value, bool)
    if not isinstance(value, str) or name.endswith("journal_schema"):  # some names are reserved
        return False
    is_normal = value.isprintable() and value == value.strip() != ""
    longest = fields.MAX_IDENTIFIER_LENGTH if name.endswith(_IDENTIFIERS) else len(value)
    is_text = name in known.texts and is_normal and len(value) <= longest
    return is_text or name in (*known.url_variables, "scratch_url")  # `load` parses URLs


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
        elif binding.error and any(
            name in source for name in (PREFIX, *record.fields.url_variables.values())
        ):
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
    for field in record.fields.defaults:
        variables = map(str.lower, record.fields.variables(field))
        name = next((names[variable] for variable in variables if variable in names), None)
        if name is not None:
            recorded.add(field)
            record.add(field, pairs[name], origin(name))
    for known in record.fields.databases:
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
    platform = {known.name for known in fields.PLATFORM}
    is_similar = not platform.isdisjoint(known.name for known in record.fields.databases)
    for known in fields.PLATFORM if is_similar else ():
        name = names.get(known.url_variable.lower())
        if name is not None and known.url_field not in record.fields.url_variables:
            record.warnings.append(
                f"{origin(name).subject} sets nothing: pyproject.toml names databases, but not {known.name}"
            )
    prefixed = [name for lowered, name in names.items() if lowered.startswith(PREFIX.lower())]
    if prefixed:
        _record_unknown(prefixed, record, origin)


def _record_unknown(names: Iterable[str], record: Provenance, origin: Callable[[str], Origin]) -> None:
    """Record the variables that belong to no setting.

    They are no errors: Kubernetes sets CIRCLE_MIGRATE_PORT for a service that is called circle-migrate. Only
    names that resemble a setting's are shown by every command.
    """
    fields = record.fields
    settings = {variable for field in fields.defaults for variable in fields.variables(field)}
    candidates = [fields.variables(field)[0] for field in fields.defaults]
    candidates += [f"{variable}_FILE" for variable in fields.url_variables.values()]
    by_suffix = {name.removeprefix(PREFIX): name for name in candidates}
    for name in (name for name in names if name.upper() not in settings):
        message = f"{origin(name).subject} sets nothing"
        suffix = name.upper().removeprefix(PREFIX)
        nearest = get_close_matches(suffix, by_suffix, n=1, cutoff=_SIMILARITY)
        if nearest:
            record.warnings.append(f"{message}; did you mean {by_suffix[nearest[0]]}?")
        else:
            record.notes.append(f"{message}: there is no such setting")


def _flags(flags: Mapping[str, object], record: Provenance, cwd: Path) -> None:
    """Record the flags; `url` has the values NAME=URL of --url."""
    urls = {known.name: known.url_field for known in record.fields.databases}
    for name, value in flags.items():
        flag = f"flag --{name.replace('_', '-')}"
        entries = [(name, flag, value)]
        if name == "url":
            pairs = [str(text).partition("=") for text in (value if isinstance(value, list) else ())]
            entries = [(urls.get(key, key), f"{flag} {key}", url) for key, _, url in pairs]
        for field, label, given in entries:
            if given is not None and field in record.fields.defaults:
                record.add(field, given, Origin(label, label, cwd, is_flag=True))
            elif given is not None:
                record.problem(
                    f"{label}: the project has no such database",
                    hint="write --url NAME=URL with one of " + ", ".join(urls),
                )


def _secrets(record: Provenance) -> None:
    """Record the folder of secret files: the setting `secrets_dir`, or else /run/secrets if it exists."""
    setting, folder = record.values.get("secrets_dir"), DEFAULT_SECRETS
    if is_set := isinstance(setting, str | Path):
        folder = record.origins["secrets_dir"].folder / Path(setting).expanduser()
    try:
        names = {entry.name.lower() for entry in folder.iterdir()}
        fields = record.fields
        relevant = any(name.lower() in names for field in fields.defaults for name in fields.variables(field))
    except OSError:
        relevant = is_set  # a folder that is set but cannot be read is reported
    if relevant:
        from circle_migrate.config.schema import read_secret_files

        read_secret_files(folder, record)
