"""Test which removed object counts as renamed to which added one."""

from __future__ import annotations

import pytest

from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.safety.trace.renames import possible_renames, says_rename


def change(op: Op, kind: str, identity: str, of: str | None = None, **fields: str) -> Change:
    """Return the addition or removal of an object; `of` is its owner."""
    values = {"of": of, **fields}
    sides = {name: (None, value) if op is Op.ADDED else (value, None) for name, value in values.items()}
    return Change(op, ObjectKey(kind, identity), sides)


def table(op: Op, identity: str, *columns: str) -> tuple[Change, ...]:
    """Return the changes of a table with integer columns."""
    parts = (
        change(
            op, "column", f"{identity}.{name}", f"table {identity}", type="integer", position=str(position)
        )
        for position, name in enumerate(columns)
    )
    return (change(op, "table", identity), *parts)


A = table(Op.REMOVED, "public.a", "id", "name")
ID = change(Op.REMOVED, "column", "public.t.id", "table public.t", type="integer", position="1")


@pytest.mark.parametrize(
    ("changes", "pairs"),
    [
        ((*A, *table(Op.ADDED, "public.b", "id", "name")), {"a": "b", "a.id": "b.id", "a.name": "b.name"}),
        ((*A, *table(Op.ADDED, "public.b", "id", "email")), {}),
        ((*A, *table(Op.ADDED, "old.a", "id")), {"a": "old.a", "a.id": "old.a.id"}),
        (
            (*A, *table(Op.ADDED, "public.b", "id"), *table(Op.ADDED, "public.c", "id", "name")),
            {"a": "c", "a.id": "c.id", "a.name": "c.name"},
        ),
        (
            (ID, change(Op.ADDED, "column", "public.t.key", "table public.t", type="integer", position="1")),
            {"t.id": "t.key"},
        ),
        ((ID, change(Op.ADDED, "column", "public.t.key", "table public.t", type="text", position="1")), {}),
        ((ID, change(Op.ADDED, "column", "public.u.id", "table public.u", type="integer", position="1")), {}),
        ((change(Op.REMOVED, "enum", "e", labels="x"), change(Op.ADDED, "enum", "f", labels="y")), {}),
        ((change(Op.REMOVED, "view", "v"), change(Op.ADDED, "table", "v")), {}),
    ],
)
def test_renamed_object_keeps_its_owner_and_its_name_or_shape(
    changes: tuple[Change, ...], pairs: dict[str, str]
) -> None:
    keys = [(old.key, new.key) for old, new in possible_renames(changes)]
    names = {old.identity.removeprefix("public."): new.identity.removeprefix("public.") for old, new in keys}
    assert names == pairs
    assert all(old.kind == new.kind for old, new in keys)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("ALTER TABLE a\n rename TO b", True),
        ("ALTER TABLE a SET  SCHEMA b", True),
        ("DROP TABLE renames", False),
    ],
)
def test_statement_that_says_that_it_renames(sql: str, expected: bool) -> None:
    assert says_rename(sql) is expected
