"""Alembic's configuration of one database, for what reads it: revisions, templates and hooks."""

from argparse import Namespace
from configparser import Error as ConfigError
from typing import Any

from alembic.config import Config

from circle_migrate.config.alembic_ini import unreadable_error
from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.redaction import MASK


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
