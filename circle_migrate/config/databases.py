"""The databases of a project: their names, and the defaults of settings that differ between them."""

from pathlib import Path
from typing import Literal, NamedTuple

PREFIX = "CIRCLE_MIGRATE_"
SAFE_FOLDERS = f"{PREFIX}SAFE_FOLDERS"
"""The environment variable, and only that, with the folders of other users whose settings are read."""


Profile = Literal["default", "strict"]
Transaction = Literal["all", "per-revision"]
"""How many steps share a transaction."""

SafetyMode = Literal["off", "warn", "require"]
"""The safety check of an upgrade: none, one that reports dangers, or one that refuses them."""

DriftMode = Literal["off", "warn", "refuse"]
"""What a run does about a schema that was changed by hand: nothing, a warning, or a refusal."""


class Locations(NamedTuple):
    """The folders of a database's revisions, and the Alembic environment that they belong to.

    `recursive` means that folders in them count as well. `environment` is the folder of script.py.mako, None
    without one. `ini` is the nearest alembic.ini; the options of new revisions are in its `section`, None if
    it is of another environment, and in [tool.alembic] of `toml`. `import_folders` are of prepend_sys_path.
    """

    folders: tuple[Path, ...]
    recursive: bool = False
    ini: Path | None = None
    section: str | None = None
    toml: Path | None = None
    environment: Path | None = None
    import_folders: tuple[Path, ...] = ()


class KnownDatabase(NamedTuple):
    """A database's name and the defaults of its settings."""

    name: str
    url_variable: str
    revisions: str = "alembic.ini"
    models: str | None = None
    profile: str = "default"

    @property
    def key(self) -> str:
        """The beginning of the keys of its settings."""
        return f"databases.{self.name}."

    @property
    def prefix(self) -> str:
        """The beginning of its environment variables except for that of the URL."""
        return f"{PREFIX}{self.name.replace('-', '_')}_".upper()


PLATFORM = tuple(
    KnownDatabase(name, variable, f"circle-migrate:{name}", f"circle_migrate.models.{name}:metadata", profile)
    for name, variable, profile in (
        ("main", "DATABASE_URL", "default"),
        ("credentials", "CREDS_DATABASE_URL", "strict"),
    )
)
"""The databases of a project that names none, in the order in which they are migrated."""

RELATIONS = "circle_migrate.models.relations:RELATIONS"
"""The keys that relate them."""

BUNDLED = {known.revisions: known for known in PLATFORM}
"""The values of `revisions` that stand for revisions of this package, with their models and profile."""
