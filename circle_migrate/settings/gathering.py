"""All sources read in order and checked by pydantic: from text in many places to typed values."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from circle_migrate.settings.declaration import Declared
from circle_migrate.settings.record import Record
from circle_migrate.settings.sources import Flags, Pyproject, Secrets, env_file, environment


@dataclass(frozen=True, slots=True, repr=False)
class Gathered:
    """Every setting by field name, and where it came from; defaults have no origin."""

    values: Mapping[str, Any]
    record: Record
    project_root: Path


def gather(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Gathered:
    """Read all sources; what is wrong is on the record, and the default stands in its place."""
    # With PYDANTIC_SETTINGS_DEBUG set it would log every value, passwords too.
    logging.getLogger("pydantic_settings").setLevel(logging.WARNING)
    record = Record()
    pyproject, root = _pyproject(cwd, record)
    sources: tuple[PydanticBaseSettingsSource, ...] = (
        Flags(Declared, flags, record, cwd),
        environment(Declared, environ, record, cwd),
        env_file(Declared, cwd / ".env", record),
        *((pyproject,) if pyproject else ()),
        Secrets(Declared, record),
    )
    try:
        declared = _validated(sources)
    except ValidationError as error:
        wrong = _reject(error, record)
        good = {name: value for name, value in record.values.items() if name not in wrong}
        declared = _validated((InitSettingsSource(Declared, good),))
    return Gathered(declared.model_dump(), record, root)


def _validated(sources: tuple[PydanticBaseSettingsSource, ...]) -> BaseSettings:
    class Loaded(Declared):  # type: ignore[misc, valid-type]  # made at run time from the table of databases
        @classmethod
        def settings_customise_sources(
            cls, *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return sources

    return Loaded()


def _reject(error: ValidationError, record: Record) -> set[str]:
    """Put pydantic's complaints on record, without the values, and return the names of the fields."""
    wrong: set[str] = set()
    for complaint in error.errors(include_input=False, include_url=False, include_context=False):
        name = str(complaint["loc"][0]).lower()
        origin = record.origins.get(name)
        message = complaint["msg"].removeprefix("Value error, ").replace("Input should", "should")
        record.problem(
            f"{origin.said if origin else name}: {message}",
            hint=f"correct or remove it ({origin.shown})" if origin else "correct it",
        )
        wrong.add(name)
    return wrong


def _pyproject(cwd: Path, record: Record) -> tuple[Pyproject | None, Path]:
    """The nearest pyproject.toml with our table, and the project's folder."""
    nearest: Path | None = None
    for folder in (cwd, *cwd.parents):
        path = folder / "pyproject.toml"
        if not path.is_file():
            continue
        nearest = nearest or folder
        try:
            return Pyproject(Declared, path, record), folder
        except KeyError:
            continue
        except tomllib.TOMLDecodeError as error:
            record.problem(f"{path} is not valid TOML", detail=str(error), hint=f"correct {path}")
        except (OSError, UnicodeDecodeError):
            record.problem(f"{path} cannot be read", hint=f"make {path} a readable UTF-8 file")
        except (AttributeError, TypeError):
            record.problem(
                f"[tool.circle-migrate] in {path} is not a table", hint="write [tool.circle-migrate]"
            )
        break
    return None, nearest or cwd
