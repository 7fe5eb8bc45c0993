"""Write the SQL statements of a change plan."""

from __future__ import annotations

import re
from collections.abc import Iterator
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

_ADD_VALUE = re.compile(r"ALTER TYPE (.*?) ADD VALUE (E?'(?:[^']|'')*')")
_QUOTED_BODY = re.compile(r"^CREATE .*\nAS \$", re.DOTALL)
_OLD_SUFFIX = "__old"
_MAX_NAME_BYTES = 63
"""The length of an identifier in PostgreSQL (NAMEDATALEN - 1)."""


def statements(plan: ChangePlan) -> tuple[Statement, ...]:
    """Return all statements of the plan, in order."""
    written = []
    for verb, key in plan.nodes():
        for command in _commands(plan, verb, key):
            sql, hazards = (command, ()) if isinstance(command, str) else command
            written.append(Statement(sql, key, () if _is_part_of_new_object(plan, key) else hazards))
    routines = [item.key for item in written if item.key.kind in ROUTINES and _QUOTED_BODY.search(item.sql)]
    if routines:  # a body may name objects that are created later; pg_dump disables the check, too
        written.insert(0, Statement("SET check_function_bodies = off", routines[0]))
        written.append(Statement("RESET check_function_bodies", routines[-1]))
    return tuple(_split_enum_additions(written))


def _is_part_of_new_object(plan: ChangePlan, key: ObjectKey) -> bool:
    """Return whether the owner is new, so that no rows and no sessions are affected.

    A foreign key also locks the table that it references.
    """
    owner = plan.after.owner_of(key)
    return owner is not None and plan.is_created(owner) and plan.after.value(key, "type") != "foreign key"


def _split_enum_additions(statements: list[Statement]) -> Iterator[Statement]:
    """A new enum label cannot be used in the transaction that adds it."""
    for statement in statements:
        label = _ADD_VALUE.match(statement.sql)
        used = label is not None and any(f"{label[2]}::{label[1]}" in other.sql for other in statements)
        yield replace(statement, transactional=False, hazards=("CM040",)) if used else statement


def _commands(plan: ChangePlan, verb: Verb, key: ObjectKey) -> Commands:
    kind = KINDS[key.kind]
    match verb:
        case Verb.DETACH | Verb.ATTACH if key.kind == "sequence":
            owner = "NONE" if verb is Verb.DETACH else plan.after.value(key, "owned_by")
            return [f"ALTER SEQUENCE {key.identity} OWNED BY {owner}"]
        case Verb.DETACH:
            return detach(plan.full_change(key))
        case Verb.RENAME:
            return [f"ALTER {kind.noun} {key.identity} RENAME TO {_old_name(key)}"]
        case Verb.DROP_OLD:
            return [Hazardous(f"DROP {kind.noun} {schema_of(key.identity)}.{_old_name(key)}", ("CM014",))]
        case Verb.DROP if not _belongs_to_view(key, plan.before):
            return kind.drop_commands(plan.drop_change(key))
    change = plan.drop_change(key) if verb is Verb.DROP else plan.change(key)
    if verb is Verb.DROP:  # the column of a view is not dropped: its default, privileges and comment are
        change = replace(change, after={"of": plan.before.value(key, "of")})
    new = verb is Verb.CREATE
    create = kind.create_commands(change) if new and _has_create(plan, key) else []
    return [*create, *kind.alter_commands(change), *attributes.commands(kind, change, new=new)]


def _old_name(key: ObjectKey) -> str:
    """Return the temporary name of a type that is replaced."""
    length = _MAX_NAME_BYTES - len(_OLD_SUFFIX)
    prefix = unquote(base_name(key.identity)).encode()[:length].decode(errors="ignore")
    return quote_if_needed(prefix + _OLD_SUFFIX)


def _has_create(plan: ChangePlan, key: ObjectKey) -> bool:
    """Return whether an object has a command of its own: the columns of a new table are in its CREATE."""
    owner = plan.after.owner_of(key)
    in_create = owner is not None and plan.is_created(owner)
    return key.kind != "column" or _belongs_to_view(key, plan.after) or not in_create


def _belongs_to_view(key: ObjectKey, catalog: Catalog) -> bool:
    owner = catalog.owner_of(key) if key.kind == "column" else None
    return owner is not None and owner.kind in VIEWS
