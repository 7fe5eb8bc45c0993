"""The models of a database: the MetaData that its setting `models` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.errors import SettingsError

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def load_models(settings: DatabaseSettings) -> MetaData:
    """The metadata the setting `models` names. Raises `SettingsError` where it cannot be had."""
    from importlib import import_module

    from sqlalchemy import MetaData

    module_name, _, attribute = settings.models.partition(":")
    hint = f'models = "package.module:metadata" in [tool.circle-migrate.databases.{settings.name}]'
    try:
        found: Any = import_module(module_name)
        for part in (attribute or "metadata").split("."):
            found = getattr(found, part)
    except Exception as error:
        raise SettingsError(
            f"the models of {settings.name} cannot be loaded from {settings.models}",
            database=settings.name,
            detail=f"{type(error).__name__}: {error}",
            hint=hint,
        ) from error
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise SettingsError(f"{settings.models} is no SQLAlchemy MetaData", database=settings.name, hint=hint)
    return metadata
