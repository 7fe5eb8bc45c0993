"""The settings by name: their defaults, and the environment variables that set them."""

from __future__ import annotations

from typing import Any

from circle_migrate.config.databases import DATABASES

PREFIX = "CIRCLE_MIGRATE_"

SHARED: dict[str, Any] = {
    "embedded": False,
    "embedded_data": None,
    "lock_wait": 60.0,
    "lock_timeout": 4.0,
    "atomic": False,
    "protected": False,
    "transaction": "all",
    "scratch_url": None,
    "scratch_on_target": False,
    "diff_ignore": (),
    "safety": "warn",
    "safety_ignore": (),
    "safety_tables": (),
    "safety_rows": 10_000,
    "safety_bytes": 50 << 20,
    "pg_bin": None,
    "relations": "circle_migrate.models.relations:RELATIONS",
    "secrets_dir": None,
}

_TEXT_FIELDS = ("revisions", "models", "version_table", "version_table_schema", "search_path")
DATABASE_FIELDS = (*_TEXT_FIELDS, "profile", "protected")
"""The settings of each database."""

TEXTS = tuple(f"{known.name}_{field}" for known in DATABASES for field in _TEXT_FIELDS)
"""Those of them that are texts which mean nothing else."""

LONGEST_IDENTIFIER = 63
"""Characters; PostgreSQL cuts longer names off without an error."""

URLS = {known.url_field: known.url_variable for known in DATABASES}
"""The variable of each URL, which unlike others' has no prefix."""

_TEXT_DEFAULTS = (
    default
    for known in DATABASES
    for default in (known.revisions, known.models, "alembic_version", None, "public")
)
DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(URLS),
    **SHARED,
    **dict(zip(TEXTS, _TEXT_DEFAULTS, strict=True)),
    **{f"{known.name}_profile": known.profile for known in DATABASES},
    **{f"{known.name}_protected": None for known in DATABASES},  # as the one for all
}
SWITCHES = frozenset(
    name for name, default in DEFAULTS.items() if isinstance(default, bool) or name.endswith("_protected")
)
"""The settings that are on or off."""


def variables(field: str) -> tuple[str, ...]:
    """The environment variables of a setting, the stronger one first; their case does not matter."""
    prefixed = f"{PREFIX}{field}".upper()
    return (URLS[field], prefixed) if field in URLS else (prefixed,)
