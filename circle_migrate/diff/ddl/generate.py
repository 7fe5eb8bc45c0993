"""Write the SQL statements of a plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from circle_migrate.diff.ddl import attributes
from circle_migrate.diff.ddl.column import VIEWS, detach
from circle_migrate.diff.ddl.dependencies import ROUTINES, Catalog
from circle_migrate.diff.ddl.kind import Commands, Hazardous
from circle_migrate.diff.ddl.kinds import KINDS
from circle_migrate.diff.ddl.plan import ChangePlan
from circle_migrate.diff.ddl.statement import Statement, Verb
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.identifier import base_name, quote_if_needed, schema_of, unquote

_LABEL = re.compile(r"ALTER TYPE (.*?) ADD VALUE (E?'(?:[^']|'')*')")
_BODY = re.compile(r"^CREATE .*\nAS \$", re.DOTALL)
_OLD = "__old"
_LONGEST_NAME = 63
"""Bytes that PostgreSQL keeps of a name."""


def statements(plan: ChangePlan) -> tuple[Statement, ...]:
    """Everything the plan does, in order."""
    written = []
    for verb, key in plan.nodes():
        for command in _COMMANDS[verb](plan, key):
            sql, hazards = (command, ()) if isinstance(command, str) else command
            written.append(Statement(sql, key, () if _on_new(plan, key) else hazards))
    return tuple(_split_enum_additions(_without_looking_at_bodies(written)))


def _on_new(plan: ChangePlan, key: ObjectKey) -> bool:
    """Whether an object is part of one that is made here, and reaches no other: nobody has rows or waits."""
    owner = plan.after.owner_of(key)
    return owner is not None and plan.is_created(owner) and plan.after.value(key, "type") != "foreign key"


def _without_looking_at_bodies(written: list[Statement]) -> list[Statement]:
    """As pg_dump does: what routines name may be made later, or lie where another search_path leads."""
    routines = [
        statement.key
        for statement in written
        if statement.key.kind in ROUTINES and _BODY.search(statement.sql)
    ]
    if not routines:
        return written
    off = Statement("SET check_function_bodies = off", routines[0])
    on = Statement("RESET check_function_bodies", routines[-1])
    return [off, *written, on]


def _split_enum_additions(statements: list[Statement]) -> Iterator[Statement]:
    """New labels of enums cannot be used in the transaction that adds them."""
    for statement in statements:
        label = _LABEL.match(statement.sql)
        used = label is not None and any(
            f"{label[2]}::{label[1]}" in other.sql for other in statements if other is not statement
        )
        yield replace(statement, transactional=False, hazards=("CM040",)) if used else statement


def _detach(plan: ChangePlan, key: ObjectKey) -> Commands:
    if key.kind == "sequence":
        return [f"ALTER SEQUENCE {key.identity} OWNED BY NONE"]
    return detach(plan.full_change(key))


def _drop(plan: ChangePlan, key: ObjectKey) -> Commands:
    """A view's column stays; it loses what was said of it."""
    kind, step = KINDS[key.kind], plan.drop_change(key)
    if not _of_view(key, plan.before):
        return kind.dropping(step)
    step = replace(step, after={"of": plan.before.value(key, "of")})
    return [*kind.altering(step), *attributes.commands(kind, step, new=False)]


def _rename(_plan: ChangePlan, key: ObjectKey) -> Commands:
    return [f"ALTER {KINDS[key.kind].noun} {key.identity} RENAME TO {_old(key)}"]


def _create(plan: ChangePlan, key: ObjectKey) -> Commands:
    kind, step = KINDS[key.kind], plan.step(key)
    made = kind.create(step) if _has_create(plan, key) else []
    return [*made, *kind.altering(step), *attributes.commands(kind, step, new=True)]


def _alter(plan: ChangePlan, key: ObjectKey) -> Commands:
    kind, step = KINDS[key.kind], plan.step(key)
    return [*kind.altering(step), *attributes.commands(kind, step, new=False)]


def _attach(plan: ChangePlan, key: ObjectKey) -> Commands:
    return [f"ALTER SEQUENCE {key.identity} OWNED BY {plan.after.value(key, 'owned_by')}"]


def _drop_old(_plan: ChangePlan, key: ObjectKey) -> Commands:
    return [Hazardous(f"DROP {KINDS[key.kind].noun} {schema_of(key.identity)}.{_old(key)}", ("CM014",))]


_COMMANDS: Mapping[Verb, Callable[[ChangePlan, ObjectKey], Commands]] = {
    Verb.DETACH: _detach,
    Verb.DROP: _drop,
    Verb.RENAME: _rename,
    Verb.CREATE: _create,
    Verb.ALTER: _alter,
    Verb.ATTACH: _attach,
    Verb.DROP_OLD: _drop_old,
}


def _old(key: ObjectKey) -> str:
    """The name a type has until no column has it any more."""
    kept = unquote(base_name(key.identity)).encode()[: _LONGEST_NAME - len(_OLD)].decode(errors="ignore")
    return quote_if_needed(kept + _OLD)


def _has_create(plan: ChangePlan, key: ObjectKey) -> bool:
    """Whether it is not simply part of the CREATE of what it belongs to."""
    owner = plan.after.owner_of(key)
    return key.kind != "column" or _of_view(key, plan.after) or owner is None or not plan.is_created(owner)


def _of_view(key: ObjectKey, catalog: Catalog) -> bool:
    owner = catalog.owner_of(key) if key.kind == "column" else None
    return owner is not None and owner.kind in VIEWS
