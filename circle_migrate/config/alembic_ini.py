"""Alembic's own configuration: its file, and the folders of revisions that it names.

It is an `alembic.ini` in the environment's folder or above it, up to the project's, or `[tool.alembic]` in
pyproject.toml. Only the options that name folders are read.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from circle_migrate.config.databases import Locations
from circle_migrate.config.foreign_files import foreign_error
from circle_migrate.config.provenance import DEFAULT, Origin, Provenance
from circle_migrate.core.errors import SettingsError

_SEPARATORS = {"space": " ", "newline": "\n", "os": os.pathsep, ":": ":", ";": ";"}
_DEFAULT_SEPARATOR = r"[,\s]+"

INI_FILE = re.compile(r"(?P<file>.*\.ini)(?::(?P<section>\w+))?")
"""A value of `revisions` that names a file and perhaps its section."""

_OPTIONS = (
    "script_location",
    "version_locations",
    "path_separator",
    "version_path_separator",
    "recursive_version_locations",
    "sourceless",
)
_TRUE = ("1", "yes", "true", "on")

Resolve = Callable[[str, Path, str], Path]
"""Returns the folder of a text, a base folder and a subject for messages. Raises `SettingsError`."""


class _Section(NamedTuple):
    """The options of one environment, and the file that has them."""

    file: Path
    name: str
    options: Mapping[str, Any]

    def expand(self, text: object) -> str:
        """Replace the folder of the file; in an ini file, its reader has done so."""
        return str(text).replace("%(here)s", str(self.file.parent))

    def is_on(self, option: str) -> bool:
        return str(self.options.get(option)).lower() in _TRUE

    def located(self, folders: tuple[Path, ...], ini: Path | None) -> Locations:
        """Return the folders as locations. Raises `SettingsError` for a revision without its source."""
        recursive = self.is_on("recursive_version_locations")
        if self.is_on("sourceless"):
            _ensure_sources(self, folders, recursive=recursive)
        return Locations(folders, recursive, ini)

    @property
    def locations(self) -> list[str]:
        value = self.options.get("version_locations") or ()
        if not isinstance(value, str):
            return [self.expand(text) for text in value]
        separator = self.options.get("path_separator") or self.options.get("version_path_separator")
        if separator is None:
            return list(filter(None, re.split(_DEFAULT_SEPARATOR, value)))
        if separator not in _SEPARATORS:
            raise SettingsError(
                f"path_separator in {self.file} [{self.name}] is {separator!r}",
                hint=f"write one of {', '.join(_SEPARATORS)}",
            )
        return [text.strip() for text in value.split(_SEPARATORS[separator]) if text.strip()]


def find(texts: Sequence[str], database: str, origin: Origin, provenance: Provenance) -> Locations:
    """Return where the revisions of a database are by its setting `revisions`; wrong folders are problems."""
    root, table, resolve = provenance.project_root, provenance.alembic, provenance.packages.folder
    folder = root if origin is DEFAULT else origin.folder
    if origin is DEFAULT and not (root / "alembic.ini").exists() and "script_location" not in table:
        raise SettingsError(
            f"{root / 'pyproject.toml'} [tool.circle-migrate.databases.{database}] has no `revisions`,"
            f" and there is no {root / 'alembic.ini'}",
            hint='write revisions = "FOLDER"',
        )
    places = []
    for text in texts:
        try:
            match = INI_FILE.fullmatch(text)
            named = root if match else resolve(text, folder, origin.subject)
            if match:
                sections = (match["section"],) if match["section"] else (database, "alembic")
                place = locate_section(folder / match["file"], sections, table, resolve)
            else:
                place = locate(named, root, table, resolve)
            ini = None if match and origin is not DEFAULT else place.ini  # one that no setting names
            if ini and (error := foreign_error(ini, ini, provenance.environ, named.stat().st_uid)):
                raise error
            places.append(place)
        except SettingsError as problem:
            problem.database = database
            provenance.problems.append(problem)
    folders = dict.fromkeys(folder for place in places for folder in place.folders)
    ini = places[0].ini if places else None
    return Locations(tuple(folders), any(place.recursive for place in places), ini)


def locate(folder: Path, root: Path, table: Mapping[str, Any], resolve: Resolve) -> Locations:
    """Return where the revisions of `folder` are: an environment, or one of an environment's folders.

    `table` is [tool.alembic] of the pyproject.toml in `root`. Raises `SettingsError` for a file that cannot
    be read and for a folder that does not exist.
    """
    inside = [parent for parent in (folder, *folder.parents) if parent.is_relative_to(root)]
    places = [parent / "alembic.ini" for parent in inside or (folder, folder.parent)]
    files = [file for file in places if file.is_file()]
    nearest = next(iter(files), None)
    own = [_Section(root / "pyproject.toml", "tool.alembic", table)] if "script_location" in table else []
    for section in chain(chain.from_iterable(map(_read, files)), own):
        base = section.file.parent
        try:
            environment = resolve(section.expand(section.options["script_location"]), base, "script_location")
        except SettingsError:
            continue  # the file is of another project, or part of it
        if folder == environment:
            return _environment_locations(section, environment, resolve)
        if folder == environment / "versions" or any(
            (base / text).resolve() == folder for text in section.locations
        ):
            return section.located((folder,), nearest)
    return Locations((folder,), ini=nearest)


def locate_section(file: Path, names: Sequence[str], table: Mapping[str, Any], resolve: Resolve) -> Locations:
    """Return where the revisions are by the first of the named sections that the file has.

    A `table` with `script_location`, [tool.alembic] of pyproject.toml, stands for a file that is missing.
    Raises `SettingsError`.
    """
    if "script_location" in table and not file.exists():
        sections = {names[-1]: _Section(file.with_name("pyproject.toml"), "tool.alembic", table)}
    else:
        sections = {section.name: section for section in _read(file)}
    for name in names:
        if section := sections.get(name):
            location = section.expand(section.options["script_location"])
            folder = resolve(location, file.parent, f"script_location in {section.file} [{section.name}]")
            return _environment_locations(section, folder, resolve)
    raise SettingsError(
        f"{file} has no section [{'] or ['.join(names)}] with script_location",
        hint='name the section, as in revisions = "alembic.ini:NAME", or the folder of the revisions',
    )


def _environment_locations(section: _Section, environment: Path, resolve: Resolve) -> Locations:
    subject = f"version_locations in {section.file} [{section.name}]"
    folders = tuple(resolve(text, section.file.parent, subject) for text in section.locations)
    ini = section.file if section.file.suffix == ".ini" else None
    return section.located(folders or (environment,), ini)


def _ensure_sources(section: _Section, folders: Sequence[Path], *, recursive: bool) -> None:
    """Raise `SettingsError` for a compiled revision without its source, which Alembic would run."""
    for folder in chain(folders, (folder / "versions" for folder in folders)):
        for pattern in ("**/*.pyc",) if recursive else ("*.pyc", "__pycache__/*.pyc"):
            for file in sorted(folder.glob(pattern)):
                beside = file.parent.parent if file.parent.name == "__pycache__" else file.parent
                name = file.name.partition(".")[0]
                if name not in ("__init__", "env") and not (beside / f"{name}.py").exists():
                    raise SettingsError(
                        f"sourceless in {section.file} [{section.name}] is on, but {file} has no source",
                        hint="revisions are read from their source: install the .py file or delete this one",
                    )


def unreadable_error(file: Path | None, error: Exception, database: str | None = None) -> SettingsError:
    """Return the error for a file that cannot be read."""
    return SettingsError(
        f"{file} cannot be read",
        database=database,
        detail=_describe(error),
        hint="correct the file: it says where the revisions of the environment are",
    )


def _describe(error: Exception) -> str:
    """Return the kind and the place of the error: its message may quote a line with a password."""
    lines = getattr(error, "errors", None) or [(getattr(error, "lineno", None), "")]
    places = {"line": lines[0][0], "option": getattr(error, "option", None)}
    texts = [f"{name} {value}" for name, value in places.items() if value]
    return ", ".join([type(error).__name__, *texts])


def _read(file: Path) -> Iterator[_Section]:
    from configparser import ConfigParser, Error

    parser = ConfigParser({"here": str(file.parent)})
    try:
        parser.read_string(file.read_text(encoding="utf-8-sig"))
        for section in parser.sections():
            options = {key: parser.get(section, key) for key in _OPTIONS if parser.has_option(section, key)}
            if "script_location" in options:
                yield _Section(file, section, options)
    except (OSError, UnicodeDecodeError, Error) as error:
        raise unreadable_error(file, error) from None
