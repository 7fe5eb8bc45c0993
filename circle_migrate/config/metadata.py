"""The models of a database: the MetaData that its setting `models` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circle_migrate.core.errors import SettingsError
from circle_migrate.postgres.database import Database

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def load_models(database: Database) -> MetaData:
    """The metadata the setting `models` names. Raises `SettingsError` where it cannot be had."""
    from importlib import import_module

    from sqlalchemy import MetaData

    module_name, _, attribute = database.settings.models.partition(":")
    hint = f'models = "package.module:metadata" in [tool.circle-migrate.databases.{database.name}]'
    try:
        found: Any = import_module(module_name)
        for part in (attribute or "metadata").split("."):
            found = getattr(found, part)
    except Exception as error:
        raise SettingsError(
            f"the models of {database.name} cannot be loaded from {database.settings.models}",
            database=database.name,
            detail=f"{type(error).__name__}: {error}",
            hint=hint,
        ) from error
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise SettingsError(
            f"{database.settings.models} is no SQLAlchemy MetaData", database=database.name, hint=hint
        )
    return metadata
