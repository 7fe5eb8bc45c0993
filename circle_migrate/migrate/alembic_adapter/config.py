"""Alembic's configuration and environment of one database, for revisions, templates and hooks."""

from argparse import Namespace
from collections.abc import Collection
from configparser import Error as ConfigError
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from circle_migrate.config.alembic_ini import unreadable_error
from circle_migrate.config.object_reference import naming_metadata
from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.redaction import MASK
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.plan import Direction, Step


def read_config(settings: DatabaseSettings, **arguments: Any) -> Config:
    """Return what alembic.ini and [tool.alembic] say, with the database's URL without its password.

    `arguments` are those of Alembic's command line, besides the arguments of `-x`. Raises `SettingsError`.
    """
    place = settings.revisions
    config = Config(
        place.ini,
        place.toml,
        place.section or "alembic",
        cmd_opts=Namespace(x=list(settings.x_arguments), **arguments),
    )
    url = settings.url.display().replace(f":{MASK}@", "@") if settings.url else ""
    options = {"sqlalchemy.url": url, "script_location": str(place.environment or place.folders[0])}
    try:
        for name, value in options.items():
            config.set_main_option(name, value.replace("%", "%%"))
    except (ConfigError, OSError, ValueError) as error:
        raise unreadable_error(place.ini, error, settings.name) from None
    return config


def read_environment(
    graph: Graph, settings: DatabaseSettings, destination: str | None = None, **arguments: Any
) -> EnvironmentContext:
    """Return what code reads of Alembic's environment: `config`, `script` and the arguments of `-x`.

    No env.py is run. The values come from the alembic.ini of the revisions and the settings of the database.
    """
    config = read_config(settings, **arguments)
    folders = sorted({str(Path(revision.path).parent) for revision in graph.revisions.values()})
    # Its revisions are read by Alembic, when somebody asks for them.
    script = ScriptDirectory(settings.revisions.folders[0], version_locations=folders)
    return EnvironmentContext(config, script, destination_rev=destination)


def environment_of(
    graph: Graph, steps: Collection[Step], settings: DatabaseSettings | None
) -> EnvironmentContext:
    """Return what the revisions of the steps read of Alembic's environment, see `read_environment`."""
    if settings is None:
        return EnvironmentContext(Config(), None)  # type: ignore[arg-type]
    reached: tuple[str, ...] = ()
    for step in steps:  # the last one counts
        reached = (step.revision.id,) if step.direction is Direction.UP else step.revision.down_revisions
    return read_environment(graph, settings, next(iter(reached), None))


class _NamingMetadata:
    """The metadata of the models in Alembic's options, loaded when an operation needs a name."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        return getattr(naming_metadata(self._settings), name)


def naming_options(settings: DatabaseSettings | None) -> dict[str, Any]:
    """Return the options by which constraints get names of the models' naming convention."""
    if settings is None or not settings.names_from_models:
        return {}
    return {"target_metadata": _NamingMetadata(settings)}
