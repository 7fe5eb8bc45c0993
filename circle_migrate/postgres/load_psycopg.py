"""Load the module for psycopg, which is an extra."""

from types import ModuleType

from circle_migrate.core.errors import SettingsError


def load_psycopg(database: str) -> ModuleType:
    """Return the module for psycopg. Raises `SettingsError` where psycopg is not installed."""
    try:
        from circle_migrate.postgres import psycopg_driver
    except ImportError as error:
        raise SettingsError(
            f'{database}: driver = "psycopg" needs psycopg, which cannot be imported',
            database=database,
            detail=str(error),
            state="nothing was changed",
            hint="run pip install 'circle-migrate[psycopg]'",
        ) from error
    return psycopg_driver
