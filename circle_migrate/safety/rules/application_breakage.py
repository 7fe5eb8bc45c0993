"""Find changes after which statements of the running application fail."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.sql_text import compile_pattern, own_name, view_columns
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import (
    RELATIONS,
    STORING,
    CatalogState,
    StatementContext,
    new_value,
    old_value,
)
from circle_migrate.safety.rules.failure import lacks_extension

_ROUTINES = frozenset({"function", "procedure", "aggregate", "window function"})
_NAMED_IN_QUERIES = (
    RELATIONS | _ROUTINES | {"sequence", "enum", "domain", "composite type", "range type", "schema"}
)
"""Kinds whose names applications use in their statements."""

_WITHOUT_ROWS = (RELATIONS - STORING) | _ROUTINES | {"trigger", "extension", "schema"}
"""Kinds without rows: only the name is lost with them."""

_IMPLICIT_VALUES = ("default", "identity", "generated")
"""Fields that give a column a value if an INSERT omits it."""

# https://www.postgresql.org/docs/current/sql-createview.html#SQL-CREATEVIEW-UPDATABLE-VIEWS
_READ_ONLY_VIEW = compile_pattern(
    r"\b(?:JOIN|WITH|DISTINCT|GROUP BY|HAVING|LIMIT|OFFSET|UNION|INTERSECT|EXCEPT)\b"
)


def check_removed_names(contexts: tuple[StatementContext, ...]) -> Iterator[HazardFinding]:
    """Yield a finding for each name that no longer resolves after the transaction."""
    errors = (context.statement.error for context in contexts)
    if any(error is not None and not lacks_extension(error) for error in errors):
        return
    for context in contexts:
        for old in context.renamed:
            if context.origin(old) == old and not _still_resolves(contexts, old):
                yield from _renamed(context, old)
        yield from _renamed_enum_values(context)
        for change in context.changes(Op.CHANGED, "column"):
            yield from _lost_default(context, change, contexts[-1].after)
        for change in context.dropped:
            if (
                change.key.kind in _WITHOUT_ROWS
                and change.owner not in context.removed
                and not _still_resolves(contexts, change.key)
            ):
                name = own_name(change.key.identity)
                trigger = change.key.kind == "trigger"
                reason = "the trigger no longer fires" if trigger else f"statements that use {name} fail"
                yield context.finding("CM035", Severity.WARNING, change.key.identity, reason)


def _renamed(context: StatementContext, old: ObjectKey) -> Iterator[HazardFinding]:
    """Yield a finding for a renamed object, but not for the parts of a renamed relation or schema."""
    new = context.renamed[old]
    owner = next((change.owner for change in context.changes(Op.REMOVED) if change.key == old), None)
    if owner in context.renamed:
        return
    if old.kind == "column":
        if owner is None or owner.kind not in RELATIONS:
            return
    elif old.kind not in _NAMED_IN_QUERIES:
        return
    if old.kind not in ("column", "schema") and any(each.kind == "schema" for each in context.renamed):
        return
    reason = f"it is renamed to {new.identity}, and the old name does not exist after the transaction"
    relation = owner if old.kind == "column" else old
    yield context.finding("CM030", Severity.ERROR, old.identity, reason, relation=relation)


def _still_resolves(contexts: tuple[StatementContext, ...], key: ObjectKey) -> bool:
    """Return whether an object has the name after the transaction; a function may have other arguments."""
    before, after = contexts[0].before, contexts[-1].after
    if key.kind in RELATIONS:
        candidates = (ObjectKey(kind, key.identity) for kind in RELATIONS)
        return any(new in after and _can_replace(before, key, after, new) for new in candidates)
    if key.kind in _ROUTINES:
        name = key.identity.partition("(")[0]
        return any(new.kind in _ROUTINES and new.identity.partition("(")[0] == name for new in after)
    return key in after


def _can_replace(before: CatalogState, old: ObjectKey, after: CatalogState, new: ObjectKey) -> bool:
    """Return whether a relation has the columns of another one and can be written to if that one could."""
    must_be_writable = old.kind in STORING and new.kind == "view"
    if must_be_writable and _READ_ONLY_VIEW.search(after[new].get("definition") or ""):
        return False
    return _columns(before, old) <= _columns(after, new)


def _columns(catalog: CatalogState, relation: ObjectKey) -> set[str]:
    """Return the names of a relation's columns; a view has them only in its definition."""
    if relation.kind == "view":
        return set(view_columns(catalog.get(relation, {}).get("definition") or ""))
    return {
        own_name(key.identity)
        for key, fields in catalog.items()
        if key.kind == "column" and fields.get("of") == str(relation)
    }


def _renamed_enum_values(context: StatementContext) -> Iterator[HazardFinding]:
    for change in context.changes(Op.CHANGED, "enum"):
        old, new = (value(change, "labels").split("\n") for value in (old_value, new_value))
        missing = sorted(set(old) - set(new))
        if missing and len(old) == len(new) and context.existed(change.key):
            reason = f"the value {', '.join(missing)} is renamed"
            yield context.finding("CM030", Severity.ERROR, change.key.identity, reason)


def check_alterations(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for each column of an existing table that gets the type json."""
    reason = "json has no equality: DISTINCT, GROUP BY and UNION over the table's columns fail (42883)"
    for change in (*context.added, *context.changes(Op.CHANGED, "column")):
        if _is_in_existing_table(context, change) and new_value(change, "type") == "json":
            name = change.key.identity
            yield context.finding("CM031", Severity.WARNING, name, reason, relation=change.owner)


def _is_in_existing_table(context: StatementContext, change: Change) -> bool:
    """Return whether a change is of a column whose table existed before the plan."""
    owner = change.owner
    return (
        change.key.kind == "column" and owner is not None and owner.kind in STORING and context.existed(owner)
    )


def _lost_default(context: StatementContext, change: Change, last: CatalogState) -> Iterator[HazardFinding]:
    """Yield a finding for a column that INSERT must list after the commit; `last` is the catalog then."""
    now, before = last.get(change.key, {}), context.before.get(change.key, {})
    if not _is_in_existing_table(context, change) or any(now.get(field) for field in _IMPLICIT_VALUES):
        return
    required = any(old_value(change, field) for field in _IMPLICIT_VALUES) and now.get("not_null") == "yes"
    if not required and not (now.get("not_null") and not before.get("not_null") and context.before):
        return
    severity = Severity.WARNING if required else Severity.NOTE
    reason = "an INSERT that omits the column fails (23502)"
    yield context.finding("CM036", severity, change.key.identity, reason, relation=change.owner)
