"""The sources of settings in order of precedence, each with the exact origin of its values."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource, InitSettingsSource, PydanticBaseSettingsSource

from circle_migrate.config.databases import BUNDLED, PLATFORM, PREFIX, RELATIONS, SAFE_FOLDERS, KnownDatabase
from circle_migrate.config.foreign_files import foreign_error
from circle_migrate.config.provenance import Origin, Provenance, read_text
from circle_migrate.config.pyproject import (
    check_settings,
    named_databases,
    read_pyproject,
    read_settings,
    settings_tables,
)
from circle_migrate.config.settings import DEFAULT_DATA, DEFAULT_SECRETS, DatabaseSettings, Settings
from circle_migrate.core.errors import SettingsError

_ENVIRONMENT = "env"
_SIMILARITY = 0.75
"""Similarity (0 to 1, without the prefix) from which a variable counts as a misspelt setting."""


def variables(databases: Iterable[KnownDatabase]) -> dict[str, tuple[str, ...]]:
    """Return the environment variables of each setting, by its key; the first has precedence."""
    names: dict[str, tuple[str, ...]] = {
        str(field.alias): (f"{PREFIX}{name}".upper(),)
        for name, field in Settings.model_fields.items()
        if name != "databases"
    }
    for known in databases:
        names[f"{known.key}url"] = (known.url_variable, f"{PREFIX}{known.url_variable}")
        for name, field in DatabaseSettings.model_fields.items():
            if not field.exclude and name != "url_env":
                names[f"{known.key}{field.alias}"] = (f"{known.prefix}{name}".upper(),)
    return names


class _Source(EnvSettingsSource):
    """A source of pydantic-settings whose variables are called like the keys of settings."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(Settings, case_sensitive=True, env_nested_delimiter=".")
        self.env_vars = values

    def __call__(self) -> dict[str, Any]:
        """Return the values, nested as the settings are."""
        return super().__call__() if self.env_vars else {}


class _Defaults(InitSettingsSource):
    """Defaults that depend on the project, and what its databases inherit."""

    def __init__(self, provenance: Provenance) -> None:
        super().__init__(Settings, {})
        self.provenance = provenance

    def __call__(self) -> dict[str, Any]:
        """Return what no other source sets."""
        given, provenance = self.current_state, self.provenance
        tables = given.get("databases", {})
        databases: dict[str, dict[str, Any]] = {}
        revisions = set()
        for known in provenance.databases:
            revisions.add(str(tables.get(known.name, {}).get("revisions", known.revisions)))
            databases[known.name] = {
                "name": known.name,
                "url-env": known.url_variable,
                "revisions": known.revisions,
                "models": known.models,
                "profile": known.profile,
                "protected": given.get("protected", False),
                "protected-by": provenance.origin(f"{known.key}protected").label,
                "x-arguments": given.get("x-arguments", ()),
                "imports": given.get("imports", ()),
            }
        return {
            "embedded-data": provenance.project_root / DEFAULT_DATA,
            "relations": RELATIONS if revisions >= BUNDLED.keys() else None,
            "databases": databases,
        }


def open_sources(
    flags: Mapping[str, object], cwd: Path, provenance: Provenance
) -> tuple[PydanticBaseSettingsSource, ...]:
    """Return the sources; what they cannot read becomes a problem.

    Raises SettingsError for a file of another user.
    """
    tables, root = read_pyproject(cwd, provenance)
    pyproject, alembic = root / "pyproject.toml", tables.get("alembic")
    provenance.project_root, provenance.alembic = root, alembic if isinstance(alembic, dict) else {}
    environ = {name: value for name, value in provenance.environ.items() if name != SAFE_FOLDERS}
    folders = [folder for folder in (cwd, *cwd.parents) if folder.is_relative_to(root)]
    env_file = next((path for folder in folders if (path := folder / ".env").exists()), root / ".env")
    if env_file.exists() and (error := foreign_error(env_file, cwd, provenance.environ)):
        raise error
    dotenv = _EnvFile(env_file, provenance)
    table, environments = settings_tables(tables.get("circle-migrate", {}), pyproject, provenance)
    environment = environments.get(_environment_name(flags, environ, dotenv.pairs) or "")
    provenance.environments = tuple(environments)
    provenance.databases = named_databases(table, environment, pyproject, provenance)
    provenance.variables = variables(provenance.databases)
    for item in environments.values():
        check_settings(item, pyproject, provenance)
    values = [
        _flags(flags, provenance, cwd),
        _by_key(
            environ, provenance, lambda name: Origin(f"environment {name}", f"{name} in the environment", cwd)
        ),
        dotenv.values(provenance, cwd),
        *(read_settings(item, pyproject, provenance) for item in (environment, table) if item),
    ]
    secrets = next((given["secrets-dir"] for given in values if "secrets-dir" in given), None)
    if isinstance(secrets, str | Path | None):
        folder = provenance.origin("secrets-dir").folder / Path(secrets or DEFAULT_SECRETS).expanduser()
        values.append(_read_secrets(folder, provenance, is_set=secrets is not None))
    return (*map(_Source, values), _Defaults(provenance))


def _environment_name(flags: Mapping[str, object], *sources: Mapping[str, str | None]) -> str | None:
    """Return the name of the environment, by the first source that gives one; other settings depend on it."""
    (variable,) = variables(())[_ENVIRONMENT]
    texts = [str(flags[_ENVIRONMENT])] if flags.get(_ENVIRONMENT) is not None else []
    texts += [text or "" for pairs in sources for name, text in pairs.items() if name.upper() == variable]
    return next(filter(None, map(str.strip, texts)), None)


def _flags(flags: Mapping[str, object], provenance: Provenance, cwd: Path) -> dict[str, Any]:
    """Return the settings that flags set; `url` has the values NAME=URL of --url."""
    databases = {known.url_variable.lower(): f"{known.key}url" for known in provenance.databases}
    names = [known.name for known in provenance.databases]
    values: dict[str, Any] = {}
    for name, value in flags.items():
        flag = f"flag --{name.replace('_', '-')}"
        entries = [(databases.get(name, name.replace("_", "-")), flag, value)]
        if name == "url":
            pairs = [str(text).partition("=") for text in (value if isinstance(value, list) else ())]
            named = [(name, url) for name, equals, url in pairs if name and equals and "/" not in name]
            entries = [(f"databases.{name}.url", f"{flag} {name}", url) for name, url in named]
            if len(named) < len(pairs):
                provenance.problem(f"{flag} needs NAME=URL", hint=_name_databases(names))
        for key, label, given in entries:
            if given is not None and key in provenance.variables:
                values.setdefault(key, given)
                provenance.origins.setdefault(key, Origin(label, label, cwd, is_flag=True))
            elif given is not None:
                provenance.problem(f"{label}: the project has no such database", hint=_name_databases(names))
    return values


def _name_databases(names: Iterable[str]) -> str:
    return "write --url NAME=URL with one of " + ", ".join(names)


def _by_key(
    pairs: Mapping[str, str | None], provenance: Provenance, origin: Callable[[str], Origin]
) -> dict[str, str | None]:
    """Return the values of NAME=VALUE pairs, with the files that `*_URL_FILE` names; without empty ones."""
    names = {name.lower(): name for name, value in pairs.items() if value and value.strip()}
    values: dict[str, str | None] = {}
    for key, candidates in provenance.variables.items():
        name = next((names[text.lower()] for text in candidates if text.lower() in names), None)
        if name is not None:
            values[key] = pairs[name]
            provenance.origins.setdefault(key, origin(name))
    for known in provenance.databases:
        name = names.get(f"{known.url_variable}_FILE".lower())
        if name is None:
            continue
        key, variable = f"{known.key}url", origin(name)
        if key in values:
            provenance.problem(
                f"{variable.subject} and {known.url_variable} are both set",
                hint=f"unset {known.url_variable} or {name}",
            )
        else:
            # It is read if no source of higher precedence sets the URL.
            path = variable.folder / Path((pairs[name] or "").strip()).expanduser()
            subject = f"the file {path} that {variable.subject} names"
            values[key] = str(path)
            file = Origin(f"file {path} ({variable.label})", subject, variable.folder, file=path)
            provenance.origins.setdefault(key, file)
    _warn(names, provenance, origin)
    return values


def _warn(names: Mapping[str, str], provenance: Provenance, origin: Callable[[str], Origin]) -> None:
    """Record the variables that belong to no setting.

    They are no errors: Kubernetes sets CIRCLE_MIGRATE_PORT for a service that is called circle-migrate. Only
    names that resemble a setting's are shown by every command.
    """
    databases = {known.name for known in provenance.databases}
    urls = {known.url_variable for known in provenance.databases}
    for known in PLATFORM if databases & {known.name for known in PLATFORM} else ():
        if (
            known.name not in databases
            and known.url_variable not in urls
            and (name := names.get(known.url_variable.lower()))
        ):
            provenance.warnings.append(
                f"{origin(name).subject} sets nothing: pyproject.toml names databases, but not {known.name}"
            )
    settings = {name.lower() for candidates in provenance.variables.values() for name in candidates}
    unknown = [
        name
        for lowered, name in names.items()
        if lowered.startswith(PREFIX.lower()) and lowered not in settings
    ]
    candidates = [candidates[0] for candidates in provenance.variables.values()] if unknown else []
    by_suffix = {name.removeprefix(PREFIX): name for name in (*candidates, *(f"{url}_FILE" for url in urls))}
    for name in unknown:
        message = f"{origin(name).subject} sets nothing"
        suffix = name.upper().removeprefix(PREFIX)
        nearest = get_close_matches(suffix, by_suffix, n=1, cutoff=_SIMILARITY)
        if nearest:
            provenance.warnings.append(f"{message}; did you mean {by_suffix[nearest[0]]}?")
        else:
            provenance.notes.append(f"{message}: there is no such setting")


class _EnvFile:
    """A .env file in the dialect of python-dotenv, which may be missing."""

    def __init__(self, path: Path, provenance: Provenance) -> None:
        self.path = path
        self.pairs: Mapping[str, str | None] = {}
        self._lines: dict[str, int] = {}
        self._unreadable: dict[int, str] = {}
        try:
            text = read_text(path, f"the file {path}") if path.exists() else ""
        except SettingsError as error:
            provenance.problems.append(error)
            return
        if text:
            self._parse(text)

    def _parse(self, text: str) -> None:
        from dotenv.main import resolve_variables
        from dotenv.parser import parse_stream

        pairs: list[tuple[str, str | None]] = []
        for binding in parse_stream(StringIO(text)):
            source = binding.original.string
            line = binding.original.line + source[: len(source) - len(source.lstrip())].count("\n")
            if binding.key is not None:
                pairs.append((binding.key, binding.value))
                self._lines[binding.key] = line
            elif binding.error:
                self._unreadable[line] = source
        self.pairs = resolve_variables(pairs, override=True)

    def values(self, provenance: Provenance, cwd: Path) -> dict[str, str | None]:
        """Return the values by key; a line that cannot be read is a problem if it names one of ours."""
        names = (PREFIX, *(known.url_variable for known in provenance.databases))
        for line, source in self._unreadable.items():
            if any(name in source for name in names):
                provenance.problem(
                    f"line {line} of {self.path} cannot be read",
                    hint="write NAME=VALUE, with a closing quote for every opening one",
                )

        def origin(name: str) -> Origin:
            file = ".env" if self.path.parent == cwd else str(self.path)
            line = self._lines[name]
            return Origin(f"file {file} line {line}", f"{name} on line {line} of {file}", self.path.parent)

        return _by_key(self.pairs, provenance, origin) if self.pairs else {}


def _read_secrets(folder: Path, provenance: Provenance, *, is_set: bool) -> dict[str, str]:
    """Return the values of the files in a folder; the folder and files of others may be unreadable."""
    values: dict[str, str] = {}
    try:
        paths = {path.name.lower(): path for path in folder.iterdir()}
        for key, names in provenance.variables.items():
            path = next((paths[name.lower()] for name in names if name.lower() in paths), None)
            if path is None or key == _ENVIRONMENT or key in provenance.origins:
                continue
            is_set = True
            if folder.resolve() not in path.resolve().parents:
                provenance.problem(
                    f"the secret file {path} is outside of {folder}", hint=f"check the files in {folder}"
                )
            elif key.endswith(".password-command") and (
                error := foreign_error(path, path, provenance.environ)
            ):
                provenance.problems.append(error)
            elif text := path.read_text(encoding="utf-8").strip():
                values[key] = text
                provenance.origins.setdefault(
                    key, Origin(f"secrets {path}", f"the secret file {path}", folder)
                )
    except (OSError, UnicodeDecodeError):
        if is_set:
            provenance.problem(
                f"the secrets in {folder} cannot be read",
                hint=f"check that this user may read the files in {folder}",
            )
    return values
