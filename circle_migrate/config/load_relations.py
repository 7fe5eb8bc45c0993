"""The relations that a project declares, found where the setting `relations` says."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from circle_migrate.config.relation import Relation
from circle_migrate.core.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circle_migrate.config.settings import Settings


def load_relations(settings: Settings, names: Sequence[str] = ()) -> tuple[Relation, ...]:
    """All relations, or those of these names; none where the settings name none.

    Raises `SettingsError` where they cannot be loaded or contradict the settings, `UsageError` for a name
    that none has.
    """
    relations: tuple[Relation, ...] = ()
    if settings.relations is not None:
        relations = _loaded(settings.relations)
        _refuse_wrong(relations, settings)
    for name in names:
        if name not in {relation.name for relation in relations}:
            listed = ", ".join(relation.name for relation in relations) or "none"
            raise UsageError(f"there is no relation {name!r}", hint=f"relations: {listed}")
    return tuple(relation for relation in relations if not names or relation.name in names)


def _loaded(text: str) -> tuple[Relation, ...]:
    module, _, attribute = text.partition(":")
    try:
        found: Any = attrgetter(attribute)(import_module(module))
    except Exception as error:
        raise _wrong(text, f"{type(error).__name__}: {error}") from error
    if not isinstance(found, list | tuple) or not all(isinstance(each, Relation) for each in found):
        raise _wrong(text, "it is no tuple of circle_migrate.config.relation.Relation")
    return tuple(found)


def _refuse_wrong(relations: tuple[Relation, ...], settings: Settings) -> None:
    known = {database.name for database in settings.databases}
    for relation in relations:
        for name in sorted(relation.databases - known):
            raise _wrong(
                settings.relations, f"the relation {relation.name} names {name}, which is no database"
            )
    names = Counter(relation.name for relation in relations)
    for name, count in names.items():
        if count > 1:
            raise _wrong(settings.relations, f"{count} relations are called {name}")


def _wrong(text: str | None, why: str) -> SettingsError:
    return SettingsError(
        f"the relations in {text} cannot be used",
        detail=why,
        hint='relations = "package.module:NAME" in [tool.circle-migrate]; NAME is a tuple of Relation',
    )
