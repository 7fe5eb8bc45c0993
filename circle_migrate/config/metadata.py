"""Load the SQLAlchemy models of a database."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.errors import SettingsError

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def load_models(settings: DatabaseSettings) -> tuple[MetaData, ...]:
    """Return the metadata that the setting `models` names: one, several, or the result of a function.

    Raises `SettingsError` if it cannot be loaded.
    """
    from importlib import import_module

    module_name, _, attribute = settings.models.partition(":")
    hint = f'write models = "package.module:metadata" in [tool.circle-migrate.databases.{settings.name}]'
    try:
        models = _all_metadata(attrgetter(attribute or "metadata")(import_module(module_name)))
    except Exception as error:
        raise SettingsError(
            f"the models of {settings.name} cannot be loaded from {settings.models}",
            database=settings.name,
            detail=f"{type(error).__name__}: {error}",
            hint=hint,
        ) from error
    if not models:
        message = f"{settings.models} is not a SQLAlchemy MetaData"
        raise SettingsError(message, database=settings.name, hint=hint)
    return models


def _all_metadata(models: Any) -> tuple[MetaData, ...]:
    """Return the MetaData of a model or module, of all items of a list, or of what a function returns."""
    from sqlalchemy import MetaData

    models = getattr(models, "metadata", models)
    if isinstance(models, MetaData):
        return (models,)
    if isinstance(models, list | tuple | set):
        return tuple(metadata for item in models for metadata in _all_metadata(item))
    return _all_metadata(_call(models)) if callable(models) else ()


@cache
def _call(function: Callable[[], Any]) -> Any:
    """Call the function once, as it may define tables, which fails the second time."""
    return function()


def naming_metadata(settings: DatabaseSettings) -> MetaData:
    """Return the metadata whose naming convention revisions follow: the first that has its own."""
    from sqlalchemy import MetaData

    models = load_models(settings)
    default = MetaData().naming_convention
    return next((metadata for metadata in models if metadata.naming_convention != default), models[0])
