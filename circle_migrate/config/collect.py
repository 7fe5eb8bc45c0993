"""All sources read in order and checked: from text in many places to typed values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from circle_migrate.config import sources
from circle_migrate.config.fields import DEFAULTS, LONGEST_IDENTIFIER, SWITCHES, TEXTS, URLS
from circle_migrate.config.provenance import Provenance

_IDENTIFIERS = ("version_table", "version_table_schema")


class RawSettings(NamedTuple):
    """Every setting by field name, and where it came from; defaults have no origin."""

    values: Mapping[str, Any]
    provenance: Provenance
    project_root: Path

    def __repr__(self) -> str:
        return "Gathered(...)"  # it has secrets


def collect(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> RawSettings:
    """Read all sources; what is wrong is on the record, and the default stands in its place."""
    record = Provenance()
    table, root = _pyproject(cwd, record)
    sources.flags(flags, record, cwd)
    sources.environment(environ, record, cwd)
    sources.env_file(_env_file(cwd, root), record, cwd)
    if table is not None:
        sources.pyproject(table, root / "pyproject.toml", record)
    sources.secrets(record)
    return RawSettings(_checked(record), record, root)


def _env_file(cwd: Path, root: Path) -> Path:
    """The nearest .env from the current folder up to the project's; that one where there is none."""
    folders = [folder for folder in (cwd, *cwd.parents) if folder.is_relative_to(root)]
    return next((path for folder in folders if (path := folder / ".env").exists()), root / ".env")


def _checked(record: Provenance) -> dict[str, Any]:
    """All settings; pydantic is imported only where a value is more than a text that stays as it is."""
    if all(_is_plain(name, value) for name, value in record.values.items()):
        return DEFAULTS | record.values
    from circle_migrate.config.schema import validated

    return validated(record)


def _is_plain(name: str, value: object) -> bool:
    """Whether there is nothing to check: a URL, which `load` parses; a switch that is one; a clean text."""
    if name in SWITCHES:
        return isinstance(value, bool)
    if not isinstance(value, str):
        return False
    clean = value.isprintable() and value == value.strip() != ""
    longest = LONGEST_IDENTIFIER if name.endswith(_IDENTIFIERS) else len(value)
    return name in (*URLS, "scratch_url") or (name in TEXTS and clean and len(value) <= longest)


def _pyproject(cwd: Path, record: Provenance) -> tuple[Mapping[str, Any] | None, Path]:
    """Our table in the nearest pyproject.toml that has it, and the project's folder."""
    nearest: Path | None = None
    for folder in (cwd, *cwd.parents):
        path = folder / "pyproject.toml"
        if not path.is_file():
            continue
        import tomllib

        nearest = nearest or folder
        try:
            return _table(path), folder
        except KeyError:
            continue
        except tomllib.TOMLDecodeError as error:
            record.problem(f"{path} is not valid TOML", detail=str(error), hint=f"correct {path}")
        except (OSError, UnicodeDecodeError):
            record.problem(f"{path} cannot be read", hint=f"make {path} a readable UTF-8 file")
        except TypeError:
            record.problem(
                f"[tool.circle-migrate] in {path} is not a table", hint="write [tool.circle-migrate]"
            )
        break
    return None, nearest or cwd


def _table(path: Path) -> Mapping[str, Any]:
    """[tool.circle-migrate] of a file. Raises KeyError without it, TypeError where it is no table."""
    import tomllib

    table: object = tomllib.loads(path.read_text(encoding="utf-8"))
    for key in ("tool", "circle-migrate"):
        if not isinstance(table, dict):
            raise TypeError
        table = table[key]
    if not isinstance(table, dict):
        raise TypeError
    return table
