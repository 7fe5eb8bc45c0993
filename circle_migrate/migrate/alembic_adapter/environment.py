"""What revisions read from Alembic's environment: `config`, `script` and the arguments of `-x`.

No env.py is run. The values come from the alembic.ini of the revisions and the settings of the database.
"""

from argparse import Namespace
from collections.abc import Collection
from configparser import Error
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


def environment(
    graph: Graph, steps: Collection[Step], settings: DatabaseSettings | None
) -> EnvironmentContext:
    """Return the environment of one database's steps. Raises `SettingsError` for a broken alembic.ini."""
    if settings is None:
        return EnvironmentContext(Config(), None)  # type: ignore[arg-type]
    config = _config(settings)
    folders = sorted({str(Path(revision.path).parent) for revision in graph.revisions.values()})
    # Its revisions are read by Alembic, when a revision asks for them.
    script = ScriptDirectory(settings.revisions[0], version_locations=folders)
    last = list(steps)[-1:]
    reached = [step.revision.id for step in last if step.direction is Direction.UP]
    reached += [key for step in last if not reached for key in step.revision.down_revisions]
    return EnvironmentContext(config, script, destination_rev=next(iter(reached), None))


class NamingMetadata:
    """The metadata of the models in Alembic's options, loaded when an operation needs a name."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        return getattr(naming_metadata(self._settings), name)


def naming_options(settings: DatabaseSettings | None) -> dict[str, Any]:
    """Return the options by which constraints get names of the models' naming convention."""
    if settings is None or not settings.names_from_models:
        return {}
    return {"target_metadata": NamingMetadata(settings)}


def _config(settings: DatabaseSettings) -> Config:
    file = settings.alembic_ini
    config = Config(file, cmd_opts=Namespace(x=list(settings.x_arguments)))
    url = settings.url.display().replace(f":{MASK}@", "@") if settings.url else ""
    options = {"sqlalchemy.url": url, "script_location": str(settings.revisions[0])}
    try:
        for name, value in options.items():
            config.set_main_option(name, value.replace("%", "%%"))
    except (Error, OSError, ValueError) as error:
        raise unreadable_error(file, error, settings.name) from None
    return config
