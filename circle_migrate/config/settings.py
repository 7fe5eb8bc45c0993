"""The settings, declared once: validation, `config show`, the documentation and the JSON Schema follow."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field, PrivateAttr
from pydantic_settings import BaseSettings, SettingsConfigDict

from circle_migrate.config.databases import Locations
from circle_migrate.config.field_types import (
    Assumption,
    DifferenceRule,
    Embedded,
    Folder,
    HazardRule,
    Identifier,
    JournalSchema,
    Lines,
    Reference,
    Revisions,
    Seconds,
    Text,
    Url,
)
from circle_migrate.config.provenance import DEFAULT, READING, Provenance
from circle_migrate.config.url.address import Address
from circle_migrate.core.errors import SettingsError, UsageError
from circle_migrate.core.redaction import redact

_SCHEMA = re.compile(r'"(?P<double>(?:[^"]|"")+)"|\'(?P<single>[^\']+)\'|(?P<plain>[^\s,"\']+)')
_USER = "$user"
# In PostgreSQL, lock_timeout is a 32-bit number of milliseconds, and 0 means no limit.
_MAX_SECONDS = 2**31 // 1000
_MIN_LOCK_TIMEOUT = 0.001

_DEFAULT_REVISIONS: Any = "alembic.ini"  # validated for each database
DEFAULT_DATA = Path(".circle-migrate/postgres")
DEFAULT_SECRETS = Path("/run/secrets")

Profile = Literal["default", "strict"]

_CONFIG = SettingsConfigDict(
    alias_generator=lambda name: name.replace("_", "-"),
    arbitrary_types_allowed=True,
    enable_decoding=False,  # a list in a variable is written as lines, not as JSON
    extra="forbid",
    frozen=True,
    hide_input_in_errors=True,
    populate_by_name=True,
    validate_default=False,
)


class Value(NamedTuple):
    """A setting as in `config show`: its key, its redacted value and its source."""

    key: str
    shown: str
    source: str

    @property
    def is_default(self) -> bool:
        """Whether no source sets it."""
        return self.source == DEFAULT.label


class DatabaseSettings(BaseModel):
    """The settings of one database.

    Those that are excluded do not stand in pyproject.toml. `url` is None if it is unset, or if the embedded
    server provides it. `protected_by` is the source of `protected`. `x_arguments` is the same for all.
    """

    model_config = _CONFIG

    name: str = Field(exclude=True)
    url: Url | None = Field(None, exclude=True)
    protected_by: str = Field("", exclude=True)
    x_arguments: Annotated[tuple[Text, ...], Lines] = Field((), exclude=True)
    url_env: str = Field(
        "NAME_DATABASE_URL",
        description="The variable of the URL; `DATABASE_URL` for `main`, `CREDS_DATABASE_URL` for"
        " `credentials`.",
    )
    revisions: Revisions = Field(
        _DEFAULT_REVISIONS,
        description="Folders of revisions, or what an `alembic.ini` says (settings.md#your-own-databases).",
    )
    models: Reference | None = Field(
        None, description="The models, for `diff` and `revision --autogenerate`."
    )
    version_table: Identifier = Field("alembic_version", description="The name of Alembic's table.")
    version_table_schema: Identifier | None = Field(
        None, description="Its schema; without it, the first schema of the search_path."
    )
    journal_schema: JournalSchema = Field(
        "circle_migrate", description="The schema of the journal, which has nothing else."
    )
    search_path: Text = Field("public", description="The search_path of revisions.")
    profile: Profile = Field(
        "default",
        description="With `strict`, differences of privileges and triggers are errors; it is the default of"
        " `credentials`.",
    )
    driver: Literal["asyncpg", "psycopg"] = Field(
        "asyncpg", description="The driver of steps: `asyncpg` or `psycopg`."
    )
    protected: bool = Field(False, description="As above, for one database.")

    @property
    def names_from_models(self) -> bool:
        """Whether constraints that revisions create get names by the naming convention of the models.

        The package's own revisions state every name.
        """
        return self.models is not None and not self.models.startswith("circle_migrate.models.")

    @property
    def default_schema(self) -> str | None:
        """The first schema of the search_path; None if it depends on the role ("$user")."""
        first = next(iter(self._path_schemas()), None)
        return None if first == _USER else first

    @property
    def effective_path(self) -> str:
        """The search_path that the URL sets, or else the setting."""
        return (self.url.session_settings if self.url else {}).get("search_path", self.search_path)

    @property
    def own_path_schemas(self) -> tuple[str, ...]:
        """The schemas of the search_path that a new database does not have."""
        schemas = [name for name in self._path_schemas() if name not in ("public", _USER)]
        return tuple(name for name in schemas if not name.startswith("pg_"))

    def _path_schemas(self) -> list[str]:
        matches = _SCHEMA.finditer(self.effective_path)
        return [
            (match["double"] or "").replace('""', '"') or match["single"] or match["plain"].lower()
            for match in matches
        ]

    @property
    def address(self) -> Address:
        """The address. Raises SettingsError if no URL was set."""
        if self.url is None:
            raise SettingsError(
                f"no URL is set for the database {self.name}",
                database=self.name,
                hint=f"set {self.url_env}=postgresql://USER:PASSWORD@HOST:5432/DATABASE in the"
                f" environment or in .env, or name a file that holds it in {self.url_env}_FILE;"
                " or add --embedded to use a local server",
            )
        return self.url


class Settings(BaseSettings):
    """All settings.

    Times are in seconds, paths absolute, and databases in the order in which they are migrated.
    """

    model_config = _CONFIG

    embedded: Embedded = Field(False, description="Use a private PostgreSQL in this project.")
    embedded_data: Folder = Field(DEFAULT_DATA, description="The folder of its data.")
    atomic: bool = Field(False, description="Commit all databases by one decision (two-phase commit).")
    transaction: Literal["all", "per-revision"] = Field(
        "all",
        description="Steps that share a transaction: `all` that can, or those of one revision"
        " (`per-revision`).",
    )
    lock_wait: Seconds = Field(
        60.0,
        ge=0,
        le=_MAX_SECONDS,
        description="Seconds to wait for other deployers and for locks; also `500ms`, `2min`, `1h`.",
    )
    lock_timeout: Seconds = Field(
        4.0,
        ge=_MIN_LOCK_TIMEOUT,
        le=_MAX_SECONDS,
        description="Seconds that a statement waits for a lock; then its segment is rolled back and tried"
        " again.",
    )
    protected: bool = Field(
        False,
        description="Refuse downgrades, stamps and restores that replace data"
        " (operations.md#protected-databases).",
    )
    safety: Literal["off", "warn", "require"] = Field(
        "warn",
        description="What an upgrade does about dangers: `off`, `warn` or `require`, which refuses them.",
    )
    safety_ignore: Annotated[tuple[HazardRule, ...], Lines] = Field(
        (), description="Hazards that are accepted (safety.md)."
    )
    safety_tables: Annotated[tuple[Assumption, ...], Lines] = Field(
        (), description="Assumed sizes of tables (safety.md)."
    )
    safety_rows: int = Field(10_000, ge=0, description="From this number of rows on, a table is large.")
    safety_bytes: int = Field(50 << 20, ge=0, description="From this number of bytes on, a table is large.")
    scratch_url: Url | None = Field(
        None,
        description="A server for scratch databases; without it the embedded server, else a container.",
    )
    scratch_on_target: bool = Field(False, description="Allow scratch databases on the live servers.")
    diff_ignore: Annotated[tuple[DifferenceRule, ...], Lines] = Field(
        (), description="Differences that are ignored, besides those of `diff --ignore` (diff.md)."
    )
    x_arguments: Annotated[tuple[Text, ...], Lines] = Field(
        (), description="`KEY=VALUE` texts that revisions read with `context.get_x_argument()`."
    )
    pg_bin: Folder | None = Field(
        None,
        description="The folder of pg_dump and pg_restore; without it PATH, else the embedded package.",
    )
    relations: Reference | None = Field(
        None,
        description="The keys that relate the databases, for `consistency`; the platform's have theirs.",
    )
    secrets_dir: Folder = Field(
        DEFAULT_SECRETS, description="A folder of files named like variables, with a value in each."
    )
    databases: dict[str, DatabaseSettings] = Field({}, description="The databases by name.")
    _provenance: Provenance = PrivateAttr()

    def model_post_init(self, _context: object) -> None:
        """Keep the origins of the values."""
        self._provenance = READING.get()

    @property
    def project_root(self) -> Path:
        """The folder of the project."""
        return self._provenance.project_root

    @property
    def warnings(self) -> tuple[str, ...]:
        """Messages on misspelt variables."""
        return tuple(self._provenance.warnings)

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages on unknown variables, folders added to sys.path, and ignored parts of URLs."""
        added = [f"{folder} was added to sys.path" for folder in self._provenance.packages.added]
        ignored = [
            f"{item.url_env}: {note}"
            for item in self.databases.values()
            if item.url
            for note in item.url.notes
        ]
        return (*added, *self._provenance.notes, *ignored)

    @property
    def values(self) -> tuple[Value, ...]:
        """All settings as in `config show`."""
        return (
            *self._values(self, ""),
            *(
                value
                for item in self.databases.values()
                for value in self._values(item, f"databases.{item.name}.")
            ),
        )

    def _values(self, model: BaseModel, beginning: str) -> Iterator[Value]:
        for name, field in type(model).model_fields.items():
            key = f"{beginning}{field.alias}"
            origin = self._provenance.origin(key)
            if name == "url" and self.embedded and origin is not DEFAULT:
                yield Value(key, "not used: embedded", origin.label)
            elif name == "url" or (name != "databases" and not field.exclude):
                yield Value(key, _show(getattr(model, name)), origin.label)

    def ensure_database(self, name: str) -> None:
        """Raise `UsageError` for a database that the project does not have."""
        if name not in self.databases:
            raise UsageError(f"there is no database {name!r}", hint=f"databases: {', '.join(self.databases)}")


def _show(value: Any) -> str:
    """Return a value as text without secrets."""
    if value is None or value == ():
        return "not set"
    if isinstance(value, Address):
        return value.display()
    if isinstance(value, Locations):
        value = value.folders
    if isinstance(value, tuple):
        value = "; ".join(map(str, value))
    if isinstance(value, float):
        value = f"{value:g} s"
    return redact(str(value).lower() if isinstance(value, bool) else str(value))
