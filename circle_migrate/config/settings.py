"""The settings as frozen values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from circle_migrate.config.url.address import Address
from circle_migrate.core.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from circle_migrate.config.assumed_size import SizeAssumption
    from circle_migrate.config.ignore_rule import IgnoreRule

_SCHEMA = re.compile(r'"(?P<double>(?:[^"]|"")+)"|\'(?P<single>[^\']+)\'|(?P<plain>[^\s,"\']+)')
_USER = "$user"

Profile = Literal["default", "strict"]
Transaction = Literal["all", "per-revision"]
Gate = Literal["off", "warn", "require"]


class Value(NamedTuple):
    """A setting as in `config show`: its name, its redacted value and its source."""

    key: str
    shown: str
    source: str


class Locations(NamedTuple):
    """The folders of a database's revisions, whether folders in them count as well, and their alembic.ini."""

    folders: tuple[Path, ...]
    recursive: bool = False
    ini: Path | None = None


class DatabaseSettings(NamedTuple):
    """The settings of one database.

    `url` is None if it is unset, or if the embedded server provides it. `revisions` are folders of revisions
    or Alembic environments; with `recursive_revisions`, folders in them count as well. `profile` determines
    the severity of differences. `protected_by` is the source of `protected`.
    With `names_from_models`, constraints that revisions create get names by the naming convention of the
    models; the package's own revisions state every name. `x_arguments` is what revisions read with
    `context.get_x_argument`, and `imports` are modules that are imported before revisions run; both are the
    same for all databases. `driver` runs the steps of revisions.
    """

    name: str
    url: Address | None
    revisions: tuple[Path, ...]
    models: str | None
    version_table: str
    version_table_schema: str | None
    journal_schema: str
    search_path: str
    profile: Profile
    url_variable: str
    protected: bool = False
    protected_by: str = ""
    recursive_revisions: bool = False
    alembic_ini: Path | None = None
    names_from_models: bool = False
    x_arguments: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    driver: Literal["asyncpg", "psycopg"] = "asyncpg"

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
                hint=f"set {self.url_variable}=postgresql://USER:PASSWORD@HOST:5432/DATABASE in the"
                f" environment or in .env, or name a file that holds it in {self.url_variable}_FILE;"
                " or add --embedded to use a local server",
            )
        return self.url


class Settings(NamedTuple):
    """All settings; times in seconds, paths absolute.

    `scratch_url` is the maintenance database of a server for scratch databases; `scratch_on_target` allows
    them on the live servers. `pg_bin` is the folder of pg_dump and pg_restore, None to search for it.
    `safety` is how an upgrade treats hazards; from `safety_rows` or `safety_bytes` on, a table is large.
    `warnings` name misspelt variables; `notes` name unknown variables, folders added to sys.path, and ignored
    parts of URLs.
    """

    databases: tuple[DatabaseSettings, ...]
    embedded: bool
    embedded_data: Path
    lock_wait: float
    lock_timeout: float
    atomic: bool
    transaction: Transaction
    scratch_url: Address | None
    scratch_on_target: bool
    diff_ignore: tuple[IgnoreRule, ...]
    safety: Gate
    safety_ignore: tuple[IgnoreRule, ...]
    safety_tables: tuple[SizeAssumption, ...]
    safety_rows: int
    safety_bytes: int
    pg_bin: Path | None
    relations: str | None
    project_root: Path
    values: tuple[Value, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def ensure_database(self, name: str) -> None:
        """Raise `UsageError` for a database that the project does not have."""
        names = [database.name for database in self.databases]
        if name not in names:
            raise UsageError(f"there is no database {name!r}", hint=f"databases: {', '.join(names)}")

    def database(self, name: str) -> DatabaseSettings:
        """Return the settings of one database. Raises KeyError for an unknown name."""
        return {database.name: database for database in self.databases}[name]
