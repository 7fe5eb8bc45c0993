"""Names and defaults of the databases and of the settings, and the environment variables that set them."""

from __future__ import annotations

from typing import Any, NamedTuple


class KnownDatabase(NamedTuple):
    """A database's name and the defaults of its settings."""

    name: str
    url_variable: str
    revisions: str
    models: str
    profile: str

    @property
    def url_field(self) -> str:
        """The field name of the URL."""
        return self.url_variable.lower()


DATABASES = (
    KnownDatabase(
        name="main",
        url_variable="DATABASE_URL",
        revisions="circle_migrate:revisions/main",
        models="circle_migrate.models.main:metadata",
        profile="default",
    ),
    KnownDatabase(
        name="credentials",
        url_variable="CREDS_DATABASE_URL",
        revisions="circle_migrate:revisions/credentials",
        models="circle_migrate.models.credentials:metadata",
        profile="strict",
    ),
)
"""The two databases, in the order in which they are migrated; no other module names them."""


PREFIX = "CIRCLE_MIGRATE_"
SAFE_FOLDERS = f"{PREFIX}SAFE_FOLDERS"
"""The environment variable, and only that, with the folders of other users whose settings are read."""

SHARED: dict[str, Any] = {
    "embedded": False,
    "embedded_data": None,
    "lock_wait": 60.0,
    "lock_timeout": 4.0,
    "atomic": False,
    "transaction": "all",
    "protected": False,
    "scratch_url": None,
    "scratch_on_target": False,
    "diff_ignore": (),
    "safety": "warn",
    "safety_ignore": (),
    "safety_tables": (),
    "safety_rows": 10_000,
    "safety_bytes": 50 << 20,
    "x_arguments": (),
    "relations": "circle_migrate.models.relations:RELATIONS",
    "pg_bin": None,
    "secrets_dir": None,
}

TABLE_FIELDS = ("version_table", "version_table_schema", "journal_schema")
_DATABASE_TEXTS = ("revisions", "models", *TABLE_FIELDS, "search_path")
DATABASE_FIELDS = (*_DATABASE_TEXTS, "profile", "driver", "protected")
"""The settings that exist once per database."""

TEXT_FIELDS = tuple(f"{known.name}_{field}" for known in DATABASES for field in _DATABASE_TEXTS)
"""The settings of databases that are plain text."""

MAX_IDENTIFIER_LENGTH = 63
"""Characters; PostgreSQL truncates longer names without an error."""

URL_VARIABLES = {known.url_field: known.url_variable for known in DATABASES}
"""The environment variable of each URL, which has no prefix."""

_TEXT_DEFAULTS = (
    default
    for known in DATABASES
    for default in (known.revisions, known.models, "alembic_version", None, "circle_migrate", "public")
)
DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(URL_VARIABLES),
    **SHARED,
    **dict(zip(TEXT_FIELDS, _TEXT_DEFAULTS, strict=True)),
    **{f"{known.name}_profile": known.profile for known in DATABASES},
    **{f"{known.name}_driver": "asyncpg" for known in DATABASES},
    **{f"{known.name}_protected": None for known in DATABASES},  # None: the shared `protected` applies
}
BOOLEAN_FIELDS = frozenset(
    name for name, default in DEFAULTS.items() if isinstance(default, bool) or name.endswith("_protected")
)
"""The settings that are true or false."""


def variables(field: str) -> tuple[str, ...]:
    """Return the environment variables of a setting in order of precedence; case does not matter."""
    prefixed = f"{PREFIX}{field}".upper()
    return (URL_VARIABLES[field], prefixed) if field in URL_VARIABLES else (prefixed,)
