"""Find the Alembic environments of a project: their ini files, [tool.alembic] and env.py files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from configparser import Error, RawConfigParser
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circle_migrate.config.databases import PLATFORM
from circle_migrate.config.object_resolver import ObjectResolver
from circle_migrate.core.errors import SettingsError

_SKIPPED = {"node_modules", "site-packages", "dist-packages", "__pycache__"}
_TELLS_NOTHING = re.compile(
    r"|alembic\w*|_?migrations?|migrate|versions|db|database|sql|src|lib|app|server|backend|storage|scripts|common"
)
_IMPORTS_ALEMBIC = re.compile(rb"^\s*(?:from|import)\s+alembic\b", re.MULTILINE)
_REFERENCE = re.compile(r"(?<!%)%\((?P<key>\w+)\)s")
_MAX_NAME_LENGTH = 40


@dataclass(frozen=True, slots=True)
class AlembicOptions:
    """The options of an environment in a file with this text; `sections` has those of all sections."""

    file: Path
    text: str
    section: str
    sections: Mapping[str, Mapping[str, Any]]

    def value(self, key: str, section: str | None = None) -> Any:
        """Return an option, None if it is not set. References in a text are replaced."""
        options = self.sections.get(section or self.section, {})
        value = options.get(key)
        if not isinstance(value, str):
            return value
        known = {**options, "here": str(self.file.parent)}
        text = _REFERENCE.sub(lambda match: str(known.get(match["key"], match[0])), value)
        return text.replace("%%", "%")

    def line(self, key: str = "", section: str | None = None) -> int:
        """Return the line of an option, or without a key of its section; 1 if it is not known."""
        header = rf"^\s*\[+{re.escape(section or self.section)}\].*"
        option = rf"(?:\n(?!\s*\[).*)*?\n{re.escape(key)}\s*[=:]" if key else ""
        match = re.search(header + option, self.text, re.MULTILINE)
        return self.text.count("\n", 0, match.end()) + 1 if match else 1


@dataclass(frozen=True, slots=True)
class Environment:
    """One database of an Alembic environment; `revisions` is the value of the setting.

    `others` are more files that name it. `engine` is its section where several databases share the revisions,
    as in Alembic's multidb template. `env` is its env.py, if there is one.
    """

    folder: Path
    revisions: str
    alembic: AlembicOptions | None = None
    env: Path | None = None
    engine: str | None = None
    others: tuple[Path, ...] = ()
    name: str = ""


def find_environments(
    root: Path, table: Mapping[str, Any], places: Sequence[Path], named: Mapping[str, Any]
) -> tuple[list[Environment], list[SettingsError]]:
    """Return the environments below `places`, with names, and errors of files that cannot be read.

    `table` is [tool.alembic] of the project in `root`, `named` are the databases that it names already.
    """
    files = sorted({path for place in places for path in _walk(place)})
    problems: list[SettingsError] = []
    environments: list[Environment] = []
    found: list[AlembicOptions] = []
    if "script_location" in table and root in places:
        file = root / "pyproject.toml"
        text, section = file.read_text(encoding="utf-8"), "tool.alembic"
        found.append(AlembicOptions(file, text, section, {section: table}))
    inis = [path for path in files if path.suffix == ".ini"]
    for path in sorted(inis, key=lambda path: (path.parent, path.name != "alembic.ini", path.name)):
        try:
            found += _read_ini(path)
        except (OSError, UnicodeDecodeError, Error) as error:
            if "alembic" in path.name:  # other ini files may have any form
                kind = type(error).__name__  # the message may quote a line with a password
                problems.append(SettingsError("the file cannot be read", detail=kind, location=str(path)))
    for options in found:
        try:
            _add(environments, options, root)
        except SettingsError as error:
            problems.append(error)
    known = {environment.folder for environment in environments}
    for path in files:
        if path.name == "env.py" and path.parent not in known and _is_environment(path):
            ini = path.with_name("alembic.ini")
            beside = list(_read_ini(ini, located=False)) if ini.is_file() else []
            folder = relative(path.parent, root)
            environments.append(Environment(path.parent, folder, next(iter(beside), None), path))
    return _named(environments, root, named), problems


def relative(path: Path, root: Path) -> str:
    """Return the path as settings in `root` have it."""
    return Path(os.path.relpath(path, root)).as_posix()


def _walk(place: Path) -> Iterator[Path]:
    """Yield the ini files and env.py files below a folder, or the file itself."""
    if place.is_file():
        yield place
    for folder, folders, files in os.walk(place):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not (name.startswith(".") or name in _SKIPPED)]
        for name in files:
            if name == "env.py" or name.endswith(".ini"):
                yield Path(folder, name)


def _read_ini(path: Path, *, located: bool = True) -> Iterator[AlembicOptions]:
    """Yield the environments of an ini file: its sections with script_location, else the section alembic."""
    text = path.read_text(encoding="utf-8-sig")
    parser = RawConfigParser(default_section="")  # no section inherits script_location
    parser.read_string(text)
    own = {name: dict(parser.items(name)) for name in parser.sections()}
    defaults = own.pop("DEFAULT", {})
    sections = {name: {**defaults, **options} for name, options in own.items()}
    for name, options in own.items():
        if "script_location" in options if located else name == "alembic":
            yield AlembicOptions(path, text, name, sections)


def _add(environments: list[Environment], options: AlembicOptions, root: Path) -> None:
    """Add the databases of an environment; a second file for one is added to it. Raises `SettingsError`."""
    folder, is_beside = _script_location(options, root)
    for place, known in enumerate(environments):
        locations = known.alembic and known.alembic.value("version_locations")
        if known.folder == folder and locations == options.value("version_locations"):
            if known.alembic and options.file not in (known.alembic.file, *known.others):
                environments[place] = replace(known, others=(*known.others, options.file))
            return
    revisions = relative(folder, root)
    if options.file.suffix == ".ini" and is_beside:
        section = "" if options.section == "alembic" else f":{options.section}"
        revisions = f"{relative(options.file, root)}{section}"
    env = folder / "env.py"
    for engine in re.findall(r"[^,\s]+", str(options.value("databases") or "")) or [None]:
        present = env if env.is_file() else None
        environments.append(Environment(folder, revisions, options, present, engine))


def _script_location(options: AlembicOptions, root: Path) -> tuple[Path, bool]:
    """Return the folder, and whether it is relative to the file; Alembic takes the current folder."""
    location = str(options.value("script_location"))
    subject = f"script_location in [{options.section}]"
    resolver = ObjectResolver(root)
    try:
        return resolver.folder(location, options.file.parent, subject), True
    except SettingsError as error:
        try:
            return resolver.folder(location, root, subject), False
        except SettingsError:
            error.location = f"{options.file}:{options.line('script_location')}"
            raise error from None


def _is_environment(path: Path) -> bool:
    """Return whether an env.py is Alembic's and has revisions, so that it is no template."""
    try:
        return (path.parent / "versions").is_dir() and _IMPORTS_ALEMBIC.search(path.read_bytes()) is not None
    except OSError:
        return False


def _named(environments: Sequence[Environment], root: Path, named: Mapping[str, Any]) -> list[Environment]:
    """Give each environment the name that it has, else one by its section, file or folder."""
    used = {name.lower() for name in named}
    result = []
    for environment in environments:
        existing = [name for name, entries in named.items() if _is_of(environment, name, entries, root)]
        candidates = _candidates(environment, root)
        names = [*candidates, *(f"{candidates[0]}{number}" for number in range(2, 1000))]
        name = next(iter(existing), "") or next(name for name in names if name.lower() not in used)
        used.add(name.lower())
        result.append(replace(environment, name=name))
    return result


def _is_of(environment: Environment, name: str, entries: Any, root: Path) -> bool:
    """Return whether a database of the settings has the revisions of an environment."""
    value = entries.get("revisions", "alembic.ini") if isinstance(entries, dict) else ()
    folders = (environment.folder, environment.folder / "versions")
    for text in value if isinstance(value, list) else [str(value)]:
        if text == environment.revisions or (root / text).resolve() in folders:
            return environment.engine in (None, name)
    return False


def _candidates(environment: Environment, root: Path) -> list[str]:
    """Return possible names, the best one first."""
    options = environment.alembic
    texts = [environment.engine or ""]
    if options is not None:
        stem = options.file.stem if options.file.suffix == ".ini" else ""
        texts += [options.section.rpartition(".")[2], stem.removeprefix("alembic").strip("-_.")]
    inside = environment.folder.relative_to(root) if environment.folder.is_relative_to(root) else Path()
    texts += reversed(inside.parts)
    names = []
    for text in texts:
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:_MAX_NAME_LENGTH]
        # Functions of shared revisions are found by the name of the engine: upgrade_app().
        tells = text == environment.engine or not _TELLS_NOTHING.fullmatch(name.lower())
        if name[:1].isalpha() and tells:
            names.append(name)
    return names or [PLATFORM[0].name]
