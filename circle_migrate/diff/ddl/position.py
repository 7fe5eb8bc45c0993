"""Continue the numbers of a column whose sequence is replaced, or that gets its first one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from circle_migrate.diff.ddl.column import identity_sequence, table_of
from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.plan import ChangePlan
from circle_migrate.diff.ddl.statement import Statement, old_name
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.identifier import base_name, literal, schema_of

_NEXT_VALUE = re.compile(r"nextval\('((?:[^']|'')*)'::regclass\)")


def continue_sequences(
    statements: list[Statement], plan: ChangePlan, renamed: Mapping[ObjectKey, ObjectKey | None]
) -> None:
    """Set each new sequence of an existing column to the position of the old one, which is dropped after it.

    Without an old one, it continues the values of the column. `renamed` has sequences that differ in their
    name only: models do not tell the catalog which column uses them.
    """
    for column in sorted(plan.altered - plan.replaced):
        old, new = (_sequence(catalog, column) for catalog in (plan.before, plan.after))
        if new is not None:
            _continue(statements, plan.after, column, old, new)
    for key in sorted(plan.created & renamed.keys()):
        old_key = renamed[key]
        if key.kind == "sequence" and old_key in plan.dropped:
            _continue(statements, plan.after, key, old_key.identity, key.identity)


def _continue(
    statements: list[Statement], catalog: Catalog, user: ObjectKey, old: str | None, new: str
) -> None:
    alter = f"ALTER TABLE {table_of(user)} ALTER COLUMN {base_name(user.identity)}"
    creates = (f"CREATE SEQUENCE {new} ", f"CREATE UNLOGGED SEQUENCE {new} ", f"{alter} ADD GENERATED ")
    created = next((item for item in statements if item.sql.startswith(creates)), None)
    kept = f"{schema_of(old)}.{old_name(old)}" if old and old == new else old
    position = Statement(_position(catalog, user, new, kept), user)
    if created is None or position in statements:
        return
    if old is None or kept is None:
        last = max(place for place, item in enumerate(statements) if item is created or item.key == user)
        statements.insert(last + 1, position)
        return
    drops = {
        f"DROP SEQUENCE {old}": f"DROP SEQUENCE {kept}",
        f"{alter} DROP IDENTITY": f"{alter} DROP IDENTITY",
    }
    dropped = [item for item in statements if item.sql in drops]
    statements[:] = [item for item in statements if item not in dropped]
    place = statements.index(created) + 1
    statements[place:place] = [position, *(replace(item, sql=drops[item.sql]) for item in dropped)]
    if kept != old:
        statements.insert(place - 1, Statement(f"ALTER SEQUENCE {old} RENAME TO {base_name(kept)}", user))


def _sequence(catalog: Catalog, column: ObjectKey) -> str | None:
    """Return the sequence of an identity, or of a default that is its next value."""
    if catalog.value(column, "identity"):
        return identity_sequence(column, catalog.objects[column])
    match = _NEXT_VALUE.fullmatch(catalog.value(column, "default") or "")
    return match[1].replace("''", "'") if match else None


def _position(catalog: Catalog, user: ObjectKey, new: str, old: str | None) -> str:
    """Return the SQL that sets the position of `new` to that of `old`, or to the last value of the column.

    A start that is further stays.
    """
    increment = catalog.value(ObjectKey("sequence", new), "increment")
    descends = "BY -" in f"{catalog.value(user, 'identity')} BY {increment}"
    last = f"{'min' if descends else 'max'}({base_name(user.identity)})"
    values, source, condition = last, table_of(user), f"HAVING {last}"
    if old is not None:
        values, source, condition = "last_value, is_called", old, "WHERE last_value"
    condition += " <=" if descends else " >="
    start = f"(SELECT last_value FROM {new})"  # noqa: S608 - identities are quoted
    return f"SELECT setval({literal(new)}, {values}) FROM {source} {condition} {start}"  # noqa: S608
