"""Read all sources of settings in order, and validate the values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from circle_migrate.config import fields, sources
from circle_migrate.config.provenance import Provenance

_IDENTIFIERS = ("version_table", "version_table_schema")


class RawSettings(NamedTuple):
    """Every setting by field name, and its source; defaults have none. `alembic` is [tool.alembic]."""

    values: Mapping[str, Any]
    provenance: Provenance
    project_root: Path
    alembic: Mapping[str, Any]

    def __repr__(self) -> str:
        return "RawSettings(...)"  # the values contain secrets


def collect(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> RawSettings:
    """Read all sources; an invalid value is recorded as a problem and replaced by the default."""
    record = Provenance()
    tables, root = _read_pyproject(cwd, record)
    sources.flags(flags, record, cwd)
    sources.environment(environ, record, cwd)
    sources.env_file(_env_file(cwd, root), record, cwd)
    sources.pyproject(tables.get("circle-migrate", {}), root / "pyproject.toml", record)
    sources.secrets(record)
    alembic = tables.get("alembic")
    return RawSettings(_validate(record), record, root, alembic if isinstance(alembic, dict) else {})


def _env_file(cwd: Path, root: Path) -> Path:
    """Return the nearest .env from the current folder up to the project's, or the project's own path."""
    folders = [folder for folder in (cwd, *cwd.parents) if folder.is_relative_to(root)]
    return next((path for folder in folders if (path := folder / ".env").exists()), root / ".env")


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


def _read_pyproject(cwd: Path, record: Provenance) -> tuple[Mapping[str, Any], Path]:
    """Return [tool] of the nearest pyproject.toml with [tool.circle-migrate], and the project's folder."""
    nearest: Path | None = None
    for folder in (cwd, *cwd.parents):
        path = folder / "pyproject.toml"
        if not path.is_file():
            continue
        import tomllib

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
