"""Continue the numbers of a column whose sequence is replaced, or that gets its first one."""

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
    pairs: dict[str, tuple[ObjectKey, str | None]] = {
        key.identity: (key, old.identity) for key, old in renamed.items() if old and key in plan.created
    }
    for column in sorted(plan.altered - plan.replaced):
        old, new = (_sequence(catalog, column) for catalog in (plan.before, plan.after))
        of_parents = {_sequence(plan.after, parent) for parent in plan.after.parent_columns(column)}
        pairs |= {new: (column, old)} if new and new not in of_parents else {}
    for new, (user, old) in pairs.items():
        alter = f"ALTER TABLE {table_of(user)} ALTER COLUMN {base_name(user.identity)}"
        creates = (f"CREATE SEQUENCE {new} ", f"CREATE UNLOGGED SEQUENCE {new} ", f"{alter} ADD GENERATED ")
        created = next((item for item in statements if item.sql.startswith(creates)), None)
        if created is None:
            continue
        kept = f"{schema_of(old)}.{old_name(old)}" if old == new else old
        position = Statement(_position(plan.after, user, new, kept), user)
        if old is None:
            used = max(place for place, item in enumerate(statements) if item is created or item.key == user)
            statements.insert(used + 1, position)
            continue
        drops = {
            f"DROP SEQUENCE {old}": f"DROP SEQUENCE {kept}",
            f"{alter} DROP IDENTITY": f"{alter} DROP IDENTITY",
        }
        dropped = [replace(item, sql=drops[item.sql]) for item in statements if item.sql in drops]
        rename = [Statement(f"ALTER SEQUENCE {old} RENAME TO {old_name(old)}", user)] if old == new else []
        statements[:] = [item for item in statements if item.sql not in drops]
        place = statements.index(created)
        statements[place : place + 1] = [*rename, created, position, *dropped]


def _sequence(catalog: Catalog, column: ObjectKey) -> str | None:
    """Return the sequence of an identity, or of a default that is its next value."""
    if catalog.value(column, "identity"):
        return identity_sequence(column, catalog.objects[column])
    match = _NEXT_VALUE.fullmatch(catalog.value(column, "default") or "")
    return match[1].replace("''", "'") if match else None


def _position(catalog: Catalog, user: ObjectKey, new: str, old: str | None) -> str:
    """Return the SQL that sets `new` to the position of `old` or the last value of the column, if further."""
    increment = catalog.value(ObjectKey("sequence", new), "increment")
    descends = "BY -" in f"{catalog.value(user, 'identity')} BY {increment}"
    last = f"{'min' if descends else 'max'}({base_name(user.identity)})"
    source = f"{last}) FROM {table_of(user)} HAVING {last}"
    if old is not None:
        source = f"last_value, is_called) FROM {old} WHERE last_value"
    further = "<=" if descends else ">="
    return f"SELECT setval({literal(new)}, {source} {further} (SELECT last_value FROM {new})"  # noqa: S608
