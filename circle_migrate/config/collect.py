"""Read all sources of settings in order, and validate the values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from circle_migrate.config import fields, sources
from circle_migrate.config.provenance import Provenance
from circle_migrate.core.errors import SettingsError

_IDENTIFIERS = ("version_table", "version_table_schema")


class RawSettings(NamedTuple):
    """Every setting by field name, and its source; defaults have none."""

    values: Mapping[str, Any]
    provenance: Provenance
    project_root: Path

    def __repr__(self) -> str:
        return "RawSettings(...)"  # the values contain secrets


def collect(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> RawSettings:
    """Read all sources; an invalid value is recorded as a problem and replaced by the default.

    Raises SettingsError for a file of another user.
    """
    record = Provenance()
    table, root = _read_pyproject(cwd, environ, record)
    sources.flags(flags, record, cwd)
    sources.environment(environ, record, cwd)
    env_file = _env_file(cwd, root)
    if env_file.exists() and (owner := _foreign_owner(env_file, cwd, environ)) is not None:
        raise _foreign(env_file, owner)
    sources.env_file(env_file, record, cwd)
    if table is not None:
        sources.pyproject(table, root / "pyproject.toml", record)
    sources.secrets(record)
    return RawSettings(_validate(record), record, root)


def _env_file(cwd: Path, root: Path) -> Path:
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
        return fields.DEFAULTS | record.values
    from circle_migrate.config.schema import validate

    return validate(record)


def _is_plain(name: str, value: object) -> bool:
    """Return whether pydantic would accept the value unchanged: a URL, a boolean, or text of normal form."""
    if name in fields.BOOLEAN_FIELDS:
        return isinstance(value, bool)
    if not isinstance(value, str):
        return False
    is_normal = value.isprintable() and value == value.strip() != ""
    longest = fields.MAX_IDENTIFIER_LENGTH if name.endswith(_IDENTIFIERS) else len(value)
    is_text = name in fields.TEXT_FIELDS and is_normal and len(value) <= longest
    return is_text or name in (*fields.URL_VARIABLES, "scratch_url")  # `load` parses URLs


def _read_pyproject(
    cwd: Path, environ: Mapping[str, str], record: Provenance
) -> tuple[Mapping[str, Any] | None, Path]:
    """Return [tool.circle-migrate] of the nearest pyproject.toml that has it, and the project's folder.

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
            table: object = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            record.problem(f"{path} is not valid TOML", detail=str(error), hint=f"correct {path}")
            break
        except (OSError, UnicodeDecodeError):
            record.problem(f"{path} cannot be read", hint=f"make {path} a readable UTF-8 file")
            break
        for key in ("tool", "circle-migrate"):
            table = table.get(key) if isinstance(table, dict) else table
        if isinstance(table, dict):
            return table, folder
        if table is not None:
            record.problem(
                f"[tool.circle-migrate] in {path} is not a table", hint="write [tool.circle-migrate]"
            )
            break
    return None, nearest or cwd
