"""The settings as pydantic checks them: one flat model, made from the table of fields.

pydantic-settings is imported here and in `secret_files` alone. That takes as long as asking both databases
does, so both are left out where there is nothing for them to do.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from circle_migrate.config.databases import DATABASES
from circle_migrate.config.fields import DEFAULTS, LONGEST_IDENTIFIER, PREFIX, URLS
from circle_migrate.config.provenance import Provenance

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|min|h)?")
_UNITS = {None: 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
# lock_timeout is a 32-bit number of milliseconds in PostgreSQL, in which 0 would mean no limit.
_LONGEST = 2**31 // 1000
_SHORTEST_LOCK_TIMEOUT = 0.001


def _seconds(value: object) -> object:
    """Seconds from a number or from "500ms", "4s", "2min", "1h"."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        return float(match["number"]) * _UNITS[match["unit"]]
    if isinstance(value, str | bool):
        raise ValueError("not a time: write seconds, or a number with ms, s, min or h")  # noqa: TRY004 - pydantic's
    return value


_Seconds = Annotated[float, BeforeValidator(_seconds)]
_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_IDENTIFIER, strip_whitespace=True)
]


def _lines(value: object) -> object:
    """The lines of a text, which is how a list is written where there are only texts."""
    return value.splitlines() if isinstance(value, str) else value


_Lines = Annotated[tuple[_Text, ...], BeforeValidator(_lines)]

_SHARED_TYPES: dict[str, Any] = {
    "embedded": bool,
    "embedded_data": Path | None,
    "lock_wait": Annotated[_Seconds, Field(ge=0, le=_LONGEST)],
    "lock_timeout": Annotated[_Seconds, Field(ge=_SHORTEST_LOCK_TIMEOUT, le=_LONGEST)],
    "atomic": bool,
    "protected": bool,
    "transaction": Literal["all", "per-revision"],
    "scratch_url": _Text | None,
    "scratch_on_target": bool,
    "diff_ignore": _Lines,
    "safety": Literal["off", "warn", "require"],
    "safety_ignore": _Lines,
    "safety_tables": _Lines,
    "safety_rows": Annotated[int, Field(ge=0)],
    "safety_bytes": Annotated[int, Field(ge=0)],
    "pg_bin": Path | None,
    "relations": _Text,
    "secrets_dir": Path | None,
}
_DATABASE_TYPES: dict[str, Any] = {
    "revisions": _Text,
    "models": _Text,
    "version_table": _Identifier,
    "version_table_schema": _Identifier | None,
    "search_path": _Text,
    "profile": Literal["default", "strict"],
    "protected": bool | None,
}
_TYPES = _SHARED_TYPES | {
    f"{known.name}_{field}": kind for known in DATABASES for field, kind in _DATABASE_TYPES.items()
}


class _Base(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        hide_input_in_errors=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    @classmethod
    def settings_customise_sources(cls, *_: object, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was read already, and nothing from the process's surroundings."""
        return (sources["init_settings"],)


def _fields() -> dict[str, Any]:
    texts: dict[str, Any] = {name: (kind, DEFAULTS[name]) for name, kind in _TYPES.items()}
    urls = {
        name: (str | None, Field(None, validation_alias=variable, repr=False))
        for name, variable in URLS.items()
    }
    return texts | urls


DeclaredSettings: type[BaseSettings] = create_model("Declared", __base__=_Base, **_fields())


def validated(record: Provenance) -> dict[str, Any]:
    """All settings by name; what is wrong is put on the record, and the default stands in its place."""
    # With PYDANTIC_SETTINGS_DEBUG set it would log every value, passwords too.
    logging.getLogger("pydantic_settings").setLevel(logging.WARNING)
    try:
        declared = DeclaredSettings(**record.values)
    except ValidationError as error:
        wrong = _reject(error, record)
        declared = DeclaredSettings(
            **{name: value for name, value in record.values.items() if name not in wrong}
        )
    return declared.model_dump()


def _reject(error: ValidationError, record: Provenance) -> set[str]:
    """Put pydantic's complaints on record, without the values, and return the names of the fields."""
    wrong: set[str] = set()
    for complaint in error.errors(include_input=False, include_url=False, include_context=False):
        name = str(complaint["loc"][0]).lower()
        origin = record.origins.get(name)
        message = complaint["msg"].removeprefix("Value error, ").replace("Input should", "should")
        if complaint["type"] == "bool_parsing":
            message = "neither true nor false"
        record.problem(
            f"{origin.subject if origin else name}: {message}",
            hint=f"correct or remove it ({origin.label})" if origin else "correct it",
        )
        wrong.add(name)
    return wrong
