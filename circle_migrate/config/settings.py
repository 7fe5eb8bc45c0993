"""What `load` returns: plain frozen values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from circle_migrate.config.url.address import Address
from circle_migrate.core.errors import SettingsError

if TYPE_CHECKING:
    from circle_migrate.config.assumed_size import SizeAssumption
    from circle_migrate.config.ignore_rule import IgnoreRule

_FIRST = r'\s*(?:"(?P<quoted>(?!\$user")(?:[^"]|"")+)"|(?P<plain>[^\W\d][\w$]*))\s*(?:,|$)'

Profile = Literal["default", "strict"]
Transaction = Literal["all", "per-revision"]
Gate = Literal["off", "warn", "require"]


class Value(NamedTuple):
    """One setting as `config show` lists it: its name, its redacted value, and where it came from."""

    key: str
    shown: str
    source: str


class DatabaseSettings(NamedTuple):
    """Where a database is, which revisions belong to it and where it keeps their version.

    `url` is None when none was given, or when the embedded server will provide it. `profile` is how its
    differences are judged. `protected_by` is where it is said whether it is `protected`.
    """

    name: str
    url: Address | None
    revisions: Path
    models: str
    version_table: str
    version_table_schema: str | None
    search_path: str
    profile: Profile
    url_variable: str
    protected: bool = False
    protected_by: str = ""

    @property
    def default_schema(self) -> str | None:
        """Where sessions find what no schema is named for: the first of the search_path.

        None where that is another one for each role.
        """
        path = {"search_path": self.search_path, **(self.url.session_settings if self.url else {})}[
            "search_path"
        ]
        match = re.match(_FIRST, path)
        if match is None:
            return None
        return match["quoted"].replace('""', '"') if match["quoted"] else match["plain"].lower()

    @property
    def address(self) -> Address:
        """The address. Raises SettingsError when there is none, which is no fault before it is needed."""
        if self.url is None:
            raise SettingsError(
                f"there is no address for the database {self.name}",
                database=self.name,
                hint=f"set {self.url_variable}=postgresql://USER:PASSWORD@HOST:5432/DATABASE in the"
                f" environment or in .env, or name a file that holds it in {self.url_variable}_FILE;"
                " or run with --embedded, for a local server",
            )
        return self.url


class Settings(NamedTuple):
    """Everything a command can be told; times in seconds, paths absolute.

    `scratch_url` is the maintenance database of a server for scratch databases; `scratch_on_target` allows
    them beside the live ones. `pg_bin` is the folder of pg_dump and pg_restore, None to look for them.
    `safety` is what an upgrade does about hazards, `safety_rows` and `safety_bytes` make a table large.
    `warnings` name variables that are misspelt, and so set nothing; `notes` say what loading did besides
    reading, such as folders added to sys.path, and name variables that resemble no setting's.
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

    def database(self, name: str) -> DatabaseSettings:
        """The settings of one database. Raises KeyError for a name that is none."""
        for database in self.databases:
            if database.name == name:
                return database
        raise KeyError(name)
