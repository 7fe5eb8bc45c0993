"""The settings as pydantic checks them: one flat model, made from the table of databases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, create_model
from pydantic_settings import BaseSettings, SettingsConfigDict

from circle_migrate.settings.databases import DATABASES

PREFIX = "CIRCLE_MIGRATE_"

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
# PostgreSQL cuts longer names off without an error.
_Identifier = Annotated[str, StringConstraints(min_length=1, max_length=63, strip_whitespace=True)]


class _Shared(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        hide_input_in_errors=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    embedded: bool = False
    embedded_data: Path | None = None
    lock_wait: Annotated[_Seconds, Field(ge=0, le=_LONGEST)] = 60.0
    lock_timeout: Annotated[_Seconds, Field(ge=_SHORTEST_LOCK_TIMEOUT, le=_LONGEST)] = 4.0
    atomic: bool = False
    transaction: Literal["all", "per-revision"] = "all"
    secrets_dir: Path | None = None


SHARED_FIELDS = tuple(_Shared.model_fields)


def _fields() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for database in DATABASES:
        fields |= {
            database.url_field: (str | None, Field(None, validation_alias=database.url_variable, repr=False)),
            f"{database.name}_revisions": (_Text, database.revisions),
            f"{database.name}_models": (_Text, database.models),
            f"{database.name}_version_table": (_Identifier, "alembic_version"),
            f"{database.name}_version_table_schema": (_Identifier | None, None),
            f"{database.name}_search_path": (_Text, "public"),
        }
    return fields


DATABASE_FIELDS = ("revisions", "models", "version_table", "version_table_schema", "search_path")

Declared: type[BaseSettings] = create_model("Declared", __base__=_Shared, **_fields())
