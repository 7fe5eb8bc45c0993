"""Load the SQLAlchemy models of a database."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.errors import SettingsError

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def load_models(settings: DatabaseSettings) -> MetaData:
    """Return the metadata that the setting `models` names. Raises `SettingsError` if it cannot be loaded."""
    from importlib import import_module

    from sqlalchemy import MetaData

    module_name, _, attribute = settings.models.partition(":")
    hint = f'write models = "package.module:metadata" in [tool.circle-migrate.databases.{settings.name}]'
    try:
        models: Any = attrgetter(attribute or "metadata")(import_module(module_name))
    except Exception as error:
        raise SettingsError(
            f"the models of {settings.name} cannot be loaded from {settings.models}",
            database=settings.name,
            detail=f"{type(error).__name__}: {error}",
            hint=hint,
        ) from error
    metadata = getattr(models, "metadata", models)
    if not isinstance(metadata, MetaData):
        message = f"{settings.models} is not a SQLAlchemy MetaData"
        raise SettingsError(message, database=settings.name, hint=hint)
    return metadata
