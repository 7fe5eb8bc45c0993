"""Import the models and relations that settings name."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from circle_migrate.core.errors import SettingsError, UsageError, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import MetaData

    from circle_migrate.config.relation import Relation
    from circle_migrate.config.settings import DatabaseSettings, Settings


@contextmanager
def _reporting(message: str, hint: str | None = None, database: str | None = None) -> Iterator[None]:
    """Turn any error of imported code into `SettingsError`."""
    try:
        yield
    except Exception as error:
        detail = f"{type(error).__name__}: {text_of(error)}"
        raise SettingsError(message, database=database, detail=detail, hint=hint) from error


def import_modules(settings: DatabaseSettings) -> None:
    """Import the modules of the setting `imports`. Raises `SettingsError`."""
    for name in settings.imports:
        with _reporting(f"the module {name} of the setting imports cannot be imported"):
            import_module(name)


def load_models(settings: DatabaseSettings) -> tuple[MetaData, ...]:
    """Return the metadata of `models`: one, several, or a function's result. Raises `SettingsError`."""
    name, reference = settings.name, settings.models
    hint = f'write models = "package.module:metadata" in [tool.circle-migrate.databases.{name}]'
    if reference is None:
        raise SettingsError(f"{name} has no models", database=name, hint=hint)
    import_modules(settings)
    with _reporting(f"the models of {name} cannot be loaded from {reference}", hint, name):
        models = _all_metadata(_import(reference))
    if not models:
        raise SettingsError(f"{reference} is not a SQLAlchemy MetaData", database=name, hint=hint)
    return models


def load_function(settings: DatabaseSettings, name: str) -> Callable[..., Any]:
    """Return the function that a setting names. Raises `SettingsError`."""
    reference, key = getattr(settings, name), name.replace("_", "-")
    hint = f'write {key} = "package.module:function" in [tool.circle-migrate.databases.{settings.name}]'
    moved = f"{hint}; a function of env.py has to move to a module, as no env.py is run"
    with _reporting(f"{key} of {settings.name} cannot be loaded from {reference}", moved, settings.name):
        function = _import(reference)
    if not callable(function):
        raise SettingsError(f"{reference} is not a function", database=settings.name, hint=hint)
    return cast("Callable[..., Any]", function)


def _all_metadata(models: Any) -> tuple[MetaData, ...]:
    """Return the MetaData of a model or module, of a list, or of what a function returns; else nothing."""
    from sqlalchemy import MetaData

    models = getattr(models, "metadata", models)
    if isinstance(models, MetaData):
        return (models,)
    if isinstance(models, list | tuple | set):
        items = [_all_metadata(item) for item in models]
        return sum(items, ()) if all(items) else ()
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


def _import(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return attrgetter(attribute)(import_module(module))


def load_relations(settings: Settings, names: Sequence[str] = ()) -> tuple[Relation, ...]:
    """Return all relations, or those named. Raises `SettingsError`, `UsageError` for an unknown name."""
    relations = () if settings.relations is None else _load(settings.relations, settings)
    for name in names:
        if name not in {relation.name for relation in relations}:
            listed = ", ".join(relation.name for relation in relations) or "none"
            raise UsageError(f"there is no relation {name!r}", hint=f"relations: {listed}")
    return tuple(relation for relation in relations if not names or relation.name in names)


def _load(reference: str, settings: Settings) -> tuple[Relation, ...]:
    from circle_migrate.config.relation import Relation

    try:
        relations = _import(reference)
    except Exception as error:
        raise _error(reference, f"{type(error).__name__}: {text_of(error)}") from error
    if not isinstance(relations, list | tuple) or not all(isinstance(item, Relation) for item in relations):
        raise _error(reference, "it is not a tuple of circle_migrate.config.relation.Relation")
    known = settings.databases.keys()
    for relation in relations:
        for name in sorted(relation.databases - known):
            raise _error(reference, f"the relation {relation.name} names {name}, which is no database")
    for name, count in Counter(relation.name for relation in relations).items():
        if count > 1:
            raise _error(reference, f"{count} relations are called {name}")
    return tuple(relations)


def _error(reference: str, reason: str) -> SettingsError:
    return SettingsError(
        f"the relations in {reference} cannot be used",
        detail=reason,
        hint='write relations = "package.module:NAME" in [tool.circle-migrate]; NAME is a tuple of Relation',
    )
