"""What counts as more than what was accepted, count by count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from circle_migrate.safety.losses.growth_guard import increased_losses
from circle_migrate.safety.losses.report import Count, Effect, Loss, Precision

COLUMN = Loss("main", "column", "main.users.phone", "public.users.phone", Effect.DROPPED, rows=Count(9))
TABLE = Loss("main", "table", "main.users", "public.users", Effect.DROPPED)


def about(value: int) -> Count:
    return Count(value, Precision.ESTIMATED)


def or_more(value: int) -> Count:
    return Count(value, Precision.AT_LEAST)


MORE = [
    (Count(5), Count(5), False),
    (Count(5), Count(6), True),
    (Count(5), Count(4), False),
    (Count(0), Count(1), True),
    # Estimates are never twice the same.
    (about(1000), about(1099), False),
    (about(1000), about(1101), True),
    (Count(1000), about(1099), False),
    (about(1000), Count(1101), True),
    # What could not be counted was accepted whatever it is; what cannot be counted any more may be more.
    (None, Count(5), False),
    (None, None, False),
    (Count(5), None, True),
    (or_more(100), or_more(100), False),
    (or_more(100), Count(5000), False),
    (Count(5), or_more(100), True),
]


@pytest.mark.parametrize(("before", "now", "more"), MORE)
def test_more_of_a_loss_is_growth(before: Count | None, now: Count | None, more: bool) -> None:
    for accepted, found in (
        (replace(COLUMN, non_null=before), replace(COLUMN, non_null=now)),
        (replace(TABLE, rows=before), replace(TABLE, rows=now)),
    ):
        assert bool(list(increased_losses([accepted], [found]))) is more


def test_rows_of_a_column_are_none_of_its_values() -> None:
    column = replace(COLUMN, non_null=Count(5))
    assert list(increased_losses([column], [replace(column, rows=Count(99))])) == []


def test_each_effect_and_revision_is_a_loss_of_its_own() -> None:
    deleted = replace(TABLE, effect=Effect.DELETED, revision="m2", rows=Count(5))
    others = (replace(deleted, effect=Effect.UPDATED), replace(deleted, revision="m3"), TABLE)
    assert [each.now for each in increased_losses([deleted], [deleted, *others])] == list(others)
