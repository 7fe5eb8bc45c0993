"""Names and defaults of the databases and of the settings, and the environment variables that set them."""

from typing import Any, NamedTuple


class KnownDatabase(NamedTuple):
    """A database's name and the defaults of its settings."""

    name: str
    url_variable: str
    revisions: str | None = None
    models: str | None = None
    profile: str = "default"

    @property
    def url_field(self) -> str:
        """The field name of the URL."""
        return self.url_variable.lower()

    @property
    def prefix(self) -> str:
        """The beginning of the names of its other fields."""
        return f"{self.name.replace('-', '_')}_"


PLATFORM = tuple(
    KnownDatabase(
        name=name,
        url_variable=variable,
        revisions=f"circle_migrate:revisions/{name}",
        models=f"circle_migrate.models.{name}:metadata",
        profile=profile,
    )
    for name, variable, profile in (
        ("main", "DATABASE_URL", "default"),
        ("credentials", "CREDS_DATABASE_URL", "strict"),
    )
)
"""The databases of a project that names none, in the order in which they are migrated."""

BUNDLED = {f"circle-migrate:{known.name}": known for known in PLATFORM}
"""The values of `revisions` that stand for revisions of this package, with their models and profile."""

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
    "imports": (),
    "relations": "circle_migrate.models.relations:RELATIONS",
    "pg_bin": None,
    "secrets_dir": None,
}

TABLE_FIELDS = ("version_table", "version_table_schema", "journal_schema")
_TEXTS = {
    "revisions": None,
    "models": None,
    "version_table": "alembic_version",
    "version_table_schema": None,
    "journal_schema": "circle_migrate",
    "search_path": "public",
}
# None: the shared `protected` applies.
_PER_DATABASE = {**_TEXTS, "profile": "default", "driver": "asyncpg", "protected": None}
DATABASE_FIELDS = tuple(_PER_DATABASE)
"""The settings that exist once per database."""

MAX_IDENTIFIER_LENGTH = 63
"""Characters; PostgreSQL truncates longer names without an error."""


class Fields:
    """The names, defaults and environment variables of all settings of a project with these databases.

    `texts` are the settings of databases that are plain text, `booleans` those that are true or false.
    """

    def __init__(self, databases: tuple[KnownDatabase, ...] = PLATFORM) -> None:
        self.databases = databases
        self.url_variables = {known.url_field: known.url_variable for known in databases}
        self.texts = {known.prefix + field for known in databases for field in _TEXTS}
        self.defaults: dict[str, Any] = {**dict.fromkeys(self.url_variables), **SHARED}
        for known in databases:
            own = {"revisions": known.revisions, "models": known.models, "profile": known.profile}
            self.defaults |= {known.prefix + field: value for field, value in (_PER_DATABASE | own).items()}
        self.booleans = {name for name, value in self.defaults.items() if isinstance(value, bool)}
        self.booleans |= {f"{known.prefix}protected" for known in databases}

    def variables(self, field: str) -> tuple[str, ...]:
        """Return the environment variables of a setting in order of precedence; case does not matter."""
        prefixed = f"{PREFIX}{field}".upper()
        if field in self.url_variables:  # it has no prefix
            return (self.url_variables[field], prefixed)
        return (prefixed,)
