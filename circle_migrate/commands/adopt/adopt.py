"""`adopt`: find the Alembic environments of a project and write their settings into pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from circle_migrate.commands.adopt.database import read_environment
from circle_migrate.commands.adopt.draft import Draft, toml
from circle_migrate.commands.adopt.environments import Environment, find_environments, relative
from circle_migrate.commands.adopt.pyproject_file import add_settings, difference
from circle_migrate.commands.adopt.result import AdoptedDatabase, AdoptResult, Point, State
from circle_migrate.commands.adopt.source_files import Modules
from circle_migrate.config.load import load
from circle_migrate.config.provenance import Provenance
from circle_migrate.config.pyproject import named_databases, read_pyproject, settings_tables
from circle_migrate.core.atomic_write import write_text
from circle_migrate.core.errors import SettingsError, UsageError

_WRITE = "circle-migrate adopt --write"
_EXAMPLE_URL = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
_LOOK = ("circle-migrate check --files-only", "circle-migrate status", "circle-migrate plan")


def adopt(cwd: Path, paths: Sequence[Path], environ: Mapping[str, str], *, write: bool) -> AdoptResult:
    """Return the settings of all environments, or of those in `paths`, and with `write` write them.

    No code of the project is run, and no database is read. Raises `UsageError` where there is no environment.
    """
    provenance = Provenance(environ, lambda: None)
    _, root = read_pyproject(cwd, provenance)
    provenance.raise_problems()
    file = root / "pyproject.toml"
    text = file.read_bytes().decode() if file.exists() else ""
    tool = tomllib.loads(text).get("tool", {})
    own = tool.get("circle-migrate", {})
    named = own.get("databases", {})
    places = tuple(_existing(cwd / path) for path in paths) or (root,)
    environments, problems = find_environments(root, tool.get("alembic", {}), places, named)
    if not environments:
        raise _nothing_found(root, paths, problems)
    drafts = _drafts(environments, own, file, provenance)
    for draft in drafts:
        read_environment(draft)
    _separate_urls(drafts)
    shared = _shared(drafts)
    databases = tuple(map(_database, drafts))
    added = add_settings(
        text,
        shared,
        {database.name: database.settings for database in databases},
        {database.name: "from " + " and ".join(database.files) for database in databases},
    )
    if write and added != text:
        _write(file, added, text if file.exists() else None, environ)
    unset = [draft.variable for draft in drafts if draft.variable not in environ]
    urls = [f"export {variable}={_EXAMPLE_URL}" for variable in unset]
    return AdoptResult(
        "adopt",
        str(file),
        databases,
        shared,
        (*_order(databases), *(_point(error, root) for error in problems)),
        difference(text, added),
        write and added != text,
        ((_WRITE,) if added != text and not write else ()) + (*dict.fromkeys(urls), *_LOOK),
    )


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"there is no {path}", hint="name a folder, an ini file or an env.py")
    return path.resolve()


def _nothing_found(root: Path, paths: Sequence[Path], problems: Sequence[SettingsError]) -> UsageError:
    places = ", ".join(map(str, paths)) or str(root)
    detail = "; ".join(f"{error.location}: {error.message}" for error in problems)
    return UsageError(
        f"there is no Alembic environment in {places}: no ini file or [tool.alembic] with script_location,"
        " and no env.py beside a folder `versions`",
        detail=detail or None,
        state="nothing was changed",
        hint="change to the project's folder, or name that of the environment: circle-migrate adopt FOLDER",
    )


def _order(databases: Sequence[AdoptedDatabase]) -> list[Point]:
    text = "databases are migrated and committed in the order of their tables: move them to change it"
    return [Point(State.HOLDS, "order", text)] if len(databases) > 1 else []


def _point(error: SettingsError, root: Path) -> Point:
    path, separator, line = (error.location or "").partition(":")
    text = f"{error.message} ({error.detail})" if error.detail else error.message
    return Point(State.BY_HAND, "file", text, f"{relative(Path(path), root)}{separator}{line}")


def _drafts(
    environments: Sequence[Environment], own: Mapping[str, Any], file: Path, provenance: Provenance
) -> list[Draft]:
    """Return a draft for each environment, with the variable of its URL as the settings know it."""
    named, root = own.get("databases", {}), file.parent
    new = {environment.name: {"revisions": environment.revisions} for environment in environments}
    table, _ = settings_tables({"databases": {**new, **named}}, file, provenance)
    known = named_databases(table, None, file, provenance)
    provenance.raise_problems()
    variables = {database.name: database.url_variable for database in known}
    drafts = []
    for environment in environments:
        alembic, name = environment.alembic, environment.name
        folders = [root, root / "src"]
        if alembic is not None:
            added = alembic.value("prepend_sys_path") or ()
            added = re.split(r"[,:;\s]+", added) if isinstance(added, str) else added
            folders += [alembic.file.parent / str(path) for path in added if path]
        modules = Modules([*folders, environment.folder.parent, *([alembic.file.parent] if alembic else ())])
        drafts.append(
            Draft(environment, root, named.get(name), own, modules, Modules(folders), variables[name])
        )
    return drafts


def _separate_urls(drafts: Iterable[Draft]) -> None:
    """Give a database a variable of its own where env.py files of two read the same one."""
    used: dict[str, str] = {}
    for draft in drafts:
        name = draft.environment.name
        if (other := used.get(draft.variable)) and draft.existing is None:
            variable = f"{name.replace('-', '_').upper()}_DATABASE_URL"
            text = (
                f"{draft.variable} is the URL of {other}: set {variable}; or, if both are one database, list"
                " their folders in `revisions` of one"
            )
            draft.by_hand("url", text, draft.environment.env)
            draft.variable = draft.settings["url-env"] = variable
        used.setdefault(draft.variable, name)


def _shared(drafts: Sequence[Draft]) -> dict[str, Any]:
    """Return the settings of the whole project: those that all databases ask for, and all imports."""
    result: dict[str, Any] = {}
    for draft in drafts:
        for key, value, subject, file, line in draft.shared:
            others = (item.shared for item in drafts if item is not draft)
            if isinstance(value, list):
                result[key] = list(dict.fromkeys([*result.get(key, ()), *value]))
            elif all((key, value) in [wanted[:2] for wanted in shared] for shared in others):
                result[key] = value
            else:
                text = (
                    f"set {key} = {toml(value)} if it may hold for all databases: not all of them ask for it"
                )
                draft.by_hand(subject, text, file, line)
                continue
            draft.add(State.SET, subject, f"{key} = {toml(value)}, for all databases", file, line)
    return result


def _database(draft: Draft) -> AdoptedDatabase:
    environment, order = draft.environment, list(State)
    points = sorted(draft.points, key=lambda point: order.index(point.state))
    paths = (environment.alembic.file if environment.alembic else None, environment.env)
    files = tuple(relative(path, draft.root) for path in paths if path)
    return AdoptedDatabase(environment.name, files, draft.settings, tuple(points), draft.existing is not None)


def _write(file: Path, text: str, before: str | None, environ: Mapping[str, str]) -> None:
    """Write the file, and undo that if the settings cannot be loaded from it."""
    write_text(file, text)
    try:
        load(environ=environ, cwd=file.parent)
    except SettingsError as error:
        if before is None:
            file.unlink()
        else:
            write_text(file, before)
        error.state = f"{file.name} is as it was"
        raise
