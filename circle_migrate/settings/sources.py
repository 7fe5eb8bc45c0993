"""The sources pydantic-settings reads, each of which records what it gave and where that stood."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pydantic_settings
from dotenv.main import resolve_variables
from dotenv.parser import parse_stream
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    SecretsSettingsSource,
    TomlConfigSettingsSource,
)

from circle_migrate.errors import SettingsError
from circle_migrate.settings.databases import DATABASES
from circle_migrate.settings.declaration import PREFIX
from circle_migrate.settings.record import DEFAULT_SECRETS, Origin, Record, text_of
from circle_migrate.settings.table import flattened

TABLE = ("tool", "circle-migrate")


class Flags(InitSettingsSource):
    """What the command line says; a flag that was not given is None."""

    def __init__(
        self, settings: type[BaseSettings], flags: Mapping[str, object], record: Record, folder: Path
    ) -> None:
        super().__init__(settings, {name: value for name, value in flags.items() if value is not None})
        self._record, self._folder = record, folder

    def __call__(self) -> dict[str, Any]:
        """The flags' values, each put on record."""
        for key, value in self.init_kwargs.items():
            flag = f"--{key.lower().replace('_', '-')}"
            self._record.add(key.lower(), value, Origin(f"flag {flag}", flag, self._folder, is_flag=True))
        return self.init_kwargs


class Variables(EnvSettingsSource):
    """NAME=VALUE pairs, of the environment or of a .env file, and the files which `*_URL_FILE` names."""

    def __init__(
        self,
        settings: type[BaseSettings],
        variables: Mapping[str, str | None],
        origin: Callable[[str], Origin],
        record: Record,
    ) -> None:
        self._names = {name.lower(): name for name, value in variables.items() if value and value.strip()}
        self._variables = variables
        self._origin = origin
        self._record = record
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {lower: self._variables[name] for lower, name in self._names.items()}

    def __call__(self) -> dict[str, Any]:
        """The values of variables we know, each put on record."""
        values = super().__call__()
        for key, value in values.items():
            # Fields with an alias, which are the URLs, are keyed by it: the variable without prefix.
            variable = key if key.lower() in self._names else f"{PREFIX}{key}"
            self._record.add(key.lower(), value, self._origin(self._names[variable.lower()]))
        for database in DATABASES:
            self._take_url_file(database.url_variable, values)
        return values

    def _take_url_file(self, variable: str, values: dict[str, Any]) -> None:
        file_variable = self._names.get(f"{variable}_FILE".lower())
        if file_variable is None:
            return
        origin = self._origin(file_variable)
        if variable in values:
            self._record.problem(
                f"{origin.said} and {variable} are both set", hint=f"unset {variable} or {file_variable}"
            )
            return
        # Read by `load` once it is known that this file is the one that counts.
        path = origin.folder / Path((self._variables[file_variable] or "").strip()).expanduser()
        values[variable] = str(path)
        self._record.add(
            variable.lower(),
            str(path),
            Origin(
                f"file {path} ({origin.shown})",
                f"the file {path} that {origin.said} names",
                origin.folder,
                file=path,
            ),
        )


def environment(
    settings: type[BaseSettings], environ: Mapping[str, str], record: Record, cwd: Path
) -> Variables:
    """The process's environment as a source."""
    return Variables(
        settings,
        environ,
        lambda name: Origin(f"environment {name}", f"{name} in the environment", cwd),
        record,
    )


def env_file(settings: type[BaseSettings], path: Path, record: Record) -> Variables:
    """A .env file as a source, in the dialect of python-dotenv; a missing file is an empty one."""
    pairs: list[tuple[str, str | None]] = []
    lines: dict[str, int] = {}
    text = ""
    try:
        text = text_of(path, f"the file {path}") if path.exists() else ""
    except SettingsError as error:
        record.problems.append(error)
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
    return Variables(
        settings,
        resolve_variables(pairs, override=True),
        lambda name: Origin(
            f"file .env line {lines[name]}", f"{name} on line {lines[name]} of .env", path.parent
        ),
        record,
    )


class Pyproject(TomlConfigSettingsSource):
    """[tool.circle-migrate] of a pyproject.toml. Raises KeyError when the file has no such table."""

    def __init__(self, settings: type[BaseSettings], path: Path, record: Record) -> None:
        super().__init__(settings, path, toml_table_header=TABLE)
        self._path, self._record = path, record

    def __call__(self) -> dict[str, Any]:
        """The table's values, each put on record; unknown keys are problems."""
        values, places = flattened(self.toml_data, str(self._path), self._record)
        for name, value in values.items():
            key, table = places[name]
            self._record.add(
                name,
                value,
                Origin(f"{self._path.name} [{table}]", f"{key} in {self._path} [{table}]", self._path.parent),
            )
        return values


class Secrets(SecretsSettingsSource):
    """A folder with one file for each setting, as Docker and Kubernetes mount it."""

    def __init__(self, settings: type[BaseSettings], record: Record) -> None:
        super().__init__(settings)
        self._record = record

    def __call__(self) -> dict[str, Any]:
        """What the folder's files say, each put on record; unreadable ones are problems."""
        self.secrets_dir = self._folder()
        if self.secrets_dir is None:
            return {}
        folder = Path(self.secrets_dir)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                values = {key: value for key, value in super().__call__().items() if value}
        except (pydantic_settings.exceptions.SettingsError, OSError):
            self._record.problem(
                f"the secrets in {folder} cannot be read",
                hint=f"check that this user may read the files in {folder}",
            )
            return {}
        for warning in caught:
            self._record.problem(str(warning.message), hint=f"check the files in {folder}")
        for key, value in values.items():
            name = key if key.lower() in {known.url_field for known in DATABASES} else f"{PREFIX}{key}"
            path = self.find_case_path(folder, name, case_sensitive=False)
            self._record.add(key.lower(), value, Origin(f"secrets {path}", f"the secret file {path}", folder))
        return values

    def _folder(self) -> Path | None:
        """The folder that a stronger source names, or the default if it is there and readable."""
        given = self.current_state.get("secrets_dir")
        if given is None:
            try:
                next(DEFAULT_SECRETS.iterdir(), None)
            except OSError:
                return None
            return DEFAULT_SECRETS
        return self._record.origins["secrets_dir"].folder / Path(given).expanduser()
