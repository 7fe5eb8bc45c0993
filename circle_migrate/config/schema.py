"""Validation of settings: one flat pydantic model.

Importing pydantic-settings takes as long as querying both databases, so only this module imports it, and it
is imported only when needed.
"""

import logging
import re
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError, create_model
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError

from circle_migrate.config.fields import MAX_IDENTIFIER_LENGTH, PREFIX, Fields
from circle_migrate.config.provenance import Origin, Provenance

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|min|h)?")
_UNITS = {None: 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
# In PostgreSQL, lock_timeout is a 32-bit number of milliseconds, and 0 means no limit.
_MAX_SECONDS = 2**31 // 1000
_MIN_LOCK_TIMEOUT = 0.001


def _parse_seconds(value: object) -> object:
    """Return the seconds of "500ms", "4s", "2min" or "1h"; a number as it is."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        return float(match["number"]) * _UNITS[match["unit"]]
    if isinstance(value, str | bool):
        raise ValueError("not a duration; write seconds, or a number with ms, s, min or h")  # noqa: TRY004
    return value


_Seconds = Annotated[float, BeforeValidator(_parse_seconds)]
_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_IDENTIFIER_LENGTH, strip_whitespace=True)
]


def _ensure_own(name: str) -> str:
    """Refuse a schema that has other tables: nothing of the journal's schema is compared or assessed."""
    if name in ("public", "information_schema", "circle_kept") or name.startswith("pg_"):
        raise ValueError("name a schema that has nothing but the journal")
    return name


_Journal = Annotated[_Identifier, AfterValidator(_ensure_own)]


def _ensure_texts(value: object) -> object:
    """Return a text or a list of texts unchanged: a folder or several."""
    texts = value if isinstance(value, list) else [value]
    if value is None or (texts and all(isinstance(text, str) and text.strip() for text in texts)):
        return value
    raise ValueError("should be a folder or a list of folders")


_Folders = Annotated[Any, BeforeValidator(_ensure_texts)]
# Environment variables write a list as the lines of a text.
_split_lines = BeforeValidator(lambda value: value.splitlines() if isinstance(value, str) else value)
_Lines = Annotated[tuple[_Text, ...], _split_lines]

_SHARED_TYPES: dict[str, Any] = {
    "embedded": bool,
    "embedded_data": Path | None,
    "lock_wait": Annotated[_Seconds, Field(ge=0, le=_MAX_SECONDS)],
    "lock_timeout": Annotated[_Seconds, Field(ge=_MIN_LOCK_TIMEOUT, le=_MAX_SECONDS)],
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
    "x_arguments": _Lines,
    "imports": _Lines,
    "relations": _Text,
    "secrets_dir": Path | None,
}
_DATABASE_TYPES: dict[str, Any] = {
    "revisions": _Folders,
    "models": _Text | None,
    "version_table": _Identifier,
    "version_table_schema": _Identifier | None,
    "journal_schema": _Journal,
    "search_path": _Text,
    "profile": Literal["default", "strict"],
    "driver": Literal["asyncpg", "psycopg"],
    "protected": bool | None,
}


class _DeclaredSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        hide_input_in_errors=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    @classmethod
    def settings_customise_sources(cls, *_: object, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only the values that `collect` has read, not the environment."""
        return (sources["init_settings"],)


def declare(fields: Fields) -> type[BaseSettings]:
    """Return the model of all settings."""
    types = _SHARED_TYPES | {
        known.prefix + field: kind for known in fields.databases for field, kind in _DATABASE_TYPES.items()
    }
    members: dict[str, Any] = {name: (kind, fields.defaults[name]) for name, kind in types.items()}
    for name, variable in fields.url_variables.items():
        members[name] = (str | None, Field(None, validation_alias=variable, repr=False))
    return create_model("Declared", __base__=_DeclaredSettings, **members)


def validate(record: Provenance) -> dict[str, Any]:
    """Return all settings by name; an invalid value is recorded as a problem and replaced by the default."""
    # With PYDANTIC_SETTINGS_DEBUG set, pydantic-settings would log every value, including passwords.
    logging.getLogger("pydantic_settings").setLevel(logging.WARNING)
    model = declare(record.fields)
    try:
        declared = model(**record.values)
    except ValidationError as error:
        invalid = _record_problems(error, record)
        valid = {name: value for name, value in record.values.items() if name not in invalid}
        declared = model(**valid)
    return declared.model_dump()


def _record_problems(error: ValidationError, record: Provenance) -> set[str]:
    """Record pydantic's errors without the values, and return the names of the fields."""
    invalid: set[str] = set()
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        name = str(problem["loc"][0]).lower()
        origin = record.origins.get(name)
        message = problem["msg"].removeprefix("Value error, ").replace("Input should", "should")
        if problem["type"] == "bool_parsing":
            message = "should be true or false"
        record.problem(
            f"{origin.subject if origin else name}: {message}",
            hint=f"correct or remove it ({origin.label})" if origin else "correct it",
        )
        invalid.add(name)
    return invalid


def read_secret_files(folder: Path, record: Provenance) -> None:
    """Record a folder of files named as settings (Docker, Kubernetes); unreadable ones become problems."""
    source = SecretsSettingsSource(declare(record.fields), folder)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values: dict[str, Any] = {key: value for key, value in source().items() if value}
    except (SettingsError, OSError, UnicodeDecodeError):
        record.problem(
            f"the secrets in {folder} cannot be read",
            hint=f"check that this user may read the files in {folder}",
        )
        return
    for warning in caught:
        record.problem(str(warning.message), hint=f"check the files in {folder}")
    for key, value in values.items():
        name = key if key.lower() in record.fields.url_variables else f"{PREFIX}{key}"
        path = source.find_case_path(folder, name, case_sensitive=False)
        record.add(key.lower(), value, Origin(f"secrets {path}", f"the secret file {path}", folder))
