"""The settings, declared once: validation, `config show`, the documentation and the JSON Schema follow."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field, PrivateAttr

from circle_migrate.config import field_types as kind
from circle_migrate.config.databases import DriftMode, Locations, Profile, SafetyMode, Transaction
from circle_migrate.config.plugins import without_plugins
from circle_migrate.config.provenance import DEFAULT, READING, Provenance
from circle_migrate.config.url.address import Address
from circle_migrate.core.errors import SettingsError, UsageError
from circle_migrate.core.redaction import redact

with without_plugins():
    from pydantic_settings import BaseSettings, SettingsConfigDict

_SCHEMA = re.compile(r'"(?P<double>(?:[^"]|"")+)"|\'(?P<single>[^\']+)\'|(?P<plain>[^\s,"\']+)')
_USER = "$user"
DEFAULT_DATA = Path(".circle-migrate/postgres")
DEFAULT_SECRETS = Path("/run/secrets")

_CONFIG = SettingsConfigDict(
    alias_generator=lambda name: name.replace("_", "-"),
    arbitrary_types_allowed=True,
    defer_build=True,  # it is built below, without plugins
    enable_decoding=False,  # a list in a variable is written as lines, not as JSON
    extra="forbid",
    frozen=True,
    hide_input_in_errors=True,
    validate_default=False,
)


def setting(default: Any, description: str, **details: Any) -> Any:
    """Return a field of a setting."""
    return Field(default, description=description, **details)


class Value(NamedTuple):
    """A setting as in `config show`: its key, its redacted value and its source."""

    key: str
    shown: str
    source: str


class DatabaseSettings(BaseModel):
    """The settings of one database.

    Those that are excluded do not stand in pyproject.toml. `url` is None if it is unset, or if the embedded
    server provides it. `protected_by` is the source of `protected`. `x_arguments` and `imports` are the same
    for all.
    """

    model_config = _CONFIG

    name: str = Field(exclude=True)
    protected_by: str = Field("", exclude=True)
    x_arguments: kind.Texts = Field((), exclude=True)
    imports: kind.Texts = Field((), exclude=True)
    url_env: str = setting(
        "NAME_DATABASE_URL",
        "The variable of the URL; `DATABASE_URL` for `main`, `CREDS_DATABASE_URL` for `credentials`.",
    )
    password_command: kind.PasswordCommand | None = setting(
        None, "A command that prints the password, for each connection (settings.md#passwords-by-a-command)."
    )
    url: kind.Url | None = Field(None, exclude=True)  # its password depends on the command
    revisions: kind.Revisions = setting(
        "alembic.ini", "Folders of revisions, or what an `alembic.ini` says (settings.md#your-own-databases)."
    )
    models: kind.Reference | None = setting(None, "The models, for `diff` and `revision --autogenerate`.")
    include_object: kind.Reference | None = setting(
        None, "A function as in env.py, which leaves objects out of every comparison (alembic.md)."
    )
    include_name: kind.Reference | None = setting(
        None, "A function as in env.py, which leaves objects of the database out by name (alembic.md)."
    )
    include_schemas: bool = setting(
        True, "Compare models in all schemas; `false`: only in the first of the search_path."
    )
    compare_type: kind.ComparedBy = setting(
        True, "Compare types of columns with models; also a function as in env.py (alembic.md)."
    )
    compare_server_default: kind.ComparedBy = setting(
        True, "Compare defaults of columns with models; also a function as in env.py (alembic.md)."
    )
    process_revision_directives: kind.Reference | None = setting(
        None, "A function as in env.py, which changes new revisions (alembic.md)."
    )
    version_table: kind.Identifier = setting("alembic_version", "The name of Alembic's table.")
    version_table_schema: kind.Identifier | None = setting(
        None, "Its schema; without it, the first schema of the search_path."
    )
    journal_schema: kind.JournalSchema = setting(
        "circle_migrate", "The schema of the journal, which has nothing else."
    )
    search_path: kind.Text = setting("public", "The search_path of revisions.")
    profile: Profile = setting(
        "default",
        "With `strict`, which `credentials` has, differences of privileges and triggers are errors.",
    )
    driver: Literal["asyncpg", "psycopg"] = setting("asyncpg", "The driver of steps: `asyncpg` or `psycopg`.")
    protected: bool = setting(False, "As above, for one database.")

    @property
    def names_from_models(self) -> bool:
        """Whether constraints that revisions create get names by the naming convention of the models.

        The package's own revisions state every name.
        """
        return self.models is not None and not self.models.startswith("circle_migrate.models.")

    @property
    def has_filters(self) -> bool:
        """Whether the project leaves anything out of comparisons."""
        compares_all = self.include_schemas and self.compare_type is self.compare_server_default is True
        return not compares_all or self.include_object is not None or self.include_name is not None

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

    Times are in seconds, paths absolute, and databases in the order in which they are migrated. `env` is the
    name of the environment, whose table overrides [tool.circle-migrate].
    """

    model_config = _CONFIG

    embedded: kind.Embedded = setting(False, "Use a private PostgreSQL in this project.")
    embedded_data: kind.Folder = setting(DEFAULT_DATA, "The folder of its data.")
    atomic: bool = setting(False, "Commit all databases by one decision (two-phase commit).")
    transaction: Transaction = setting(
        "all", "Steps that share a transaction: `all` that can, or those of one revision (`per-revision`)."
    )
    lock_wait: kind.Wait = setting(
        60.0, "Seconds to wait for other deployers and for locks; also `500ms`, `2min`, `1h`."
    )
    lock_timeout: kind.LockTimeout = setting(
        4.0, "Seconds that a statement waits for a lock; then its segment is rolled back and tried again."
    )
    statement_timeout: kind.Wait = setting(
        0.0,
        "Seconds that a statement of a revision may take; 0 for no limit (operations.md#slow-statements).",
    )
    protected: bool = setting(
        False, "Refuse downgrades, stamps and restores that replace data (operations.md#protected-databases)."
    )
    safety: SafetyMode = setting(
        "warn", "What an upgrade does about dangers: `off`, `warn` or `require`, which refuses them."
    )
    drift: DriftMode = setting(
        "warn",
        "What a run does about a schema that was changed by hand: `off`, `warn`, or `refuse`, which is the "
        "default for a protected database (operations.md#changed-schema).",
    )
    safety_ignore: kind.HazardRules = setting((), "Hazards that are accepted (safety.md).")
    safety_tables: kind.Assumptions = setting((), "Assumed sizes of tables (safety.md).")
    safety_rows: int = setting(10_000, "From this number of rows on, a table is large.", ge=0)
    safety_bytes: int = setting(50 << 20, "From this number of bytes on, a table is large.", ge=0)
    scratch_url: kind.Url | None = setting(
        None, "A server for scratch databases; without it the embedded server, else a container."
    )
    scratch_on_target: bool = setting(False, "Allow scratch databases on the live servers.")
    diff_ignore: kind.DifferenceRules = setting(
        (), "Differences that are ignored, besides those of `diff --ignore` (diff.md)."
    )
    x_arguments: kind.Texts = setting(
        (), "`KEY=VALUE` texts that revisions read with `context.get_x_argument()`."
    )
    databases: dict[str, DatabaseSettings] = setting({}, "The databases by name.")
    # Below the databases, whose alembic.ini may name folders of modules.
    imports: kind.Modules = setting(
        (), "Modules that add operations to `op` or tables to models, imported first, as no env.py is run."
    )
    pg_bin: kind.Folder | None = setting(
        None, "The folder of pg_dump and pg_restore; without it PATH, else the embedded package."
    )
    api_token: kind.Token | None = setting(
        None, "The token with which the API shows more than whether the databases are ready (api.md#token)."
    )
    api_listen: kind.Listen = setting(
        "127.0.0.1:8080", "`ADDRESS:PORT` of `serve`; beyond this machine only with a token or a proxy."
    )
    api_behind_proxy: bool = setting(
        False, "A proxy in front of `serve` decides who sees it, so that no token is needed (api.md#token)."
    )
    api_drain: kind.Wait = setting(
        5.0, "Seconds after SIGTERM in which `serve` is not ready, but still answers."
    )
    api_cors: kind.Origins = setting((), "Origins such as `https://a.example` whose pages may read the API.")
    api_cors_credentials: bool = setting(False, "Pages of these origins may send the token of a browser.")
    api_docs: bool = setting(False, "Serve the OpenAPI of the API and its page, for development.")
    relations: kind.Reference | None = setting(
        None, "The keys that relate the databases, for `consistency`; the platform's have theirs."
    )
    secrets_dir: kind.Folder = setting(
        DEFAULT_SECRETS, "A folder of files named like variables, with a value in each."
    )
    env: kind.Environment | None = Field(None, exclude=True)
    _provenance: Provenance = PrivateAttr()

    def model_post_init(self, _context: object) -> None:
        """Keep the origins of the values."""
        self._provenance = READING.get()

    @property
    def project_root(self) -> Path:
        """The folder of the project."""
        return self._provenance.project_root

    @property
    def environments(self) -> tuple[str, ...]:
        """The names of the environments that pyproject.toml has."""
        return self._provenance.environments

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
        databases = (self._values(item, f"databases.{name}.") for name, item in self.databases.items())
        return (*self._values(self, ""), *chain.from_iterable(databases))

    def _values(self, model: BaseModel, beginning: str) -> Iterator[Value]:
        for name, field in type(model).model_fields.items():
            key = f"{beginning}{field.alias}"
            origin = self._provenance.origin(key)
            if name == "url" and self.embedded and origin is not DEFAULT:
                yield Value(key, "not used: embedded", origin.label)
            elif name in ("env", "url") or (name != "databases" and not field.exclude):
                yield Value(key, _show(getattr(model, name)), origin.label)

    def drift_mode(self, *, is_protected: bool) -> DriftMode:
        """Return what a run does about a database that was changed by hand: by default by its protection."""
        is_default = self._provenance.origin("drift") is DEFAULT
        return "refuse" if is_default and is_protected else self.drift

    def ensure_database(self, name: str) -> None:
        """Raise `UsageError` for a database that the project does not have."""
        if name not in self.databases:
            raise UsageError(f"there is no database {name!r}", hint=f"databases: {', '.join(self.databases)}")


with without_plugins():
    Settings.model_rebuild()


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
