"""Which counts are an increase over the accepted ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from circle_migrate.safety.losses.growth_guard import increased_losses
from circle_migrate.safety.losses.report import Count, Effect, Loss, Precision

COLUMN = Loss("main", "column", "main.users.phone", "public.users.phone", Effect.DROPPED, rows=Count(9))
TABLE = Loss("main", "table", "main.users", "public.users", Effect.DROPPED)


def estimated(value: int) -> Count:
    return Count(value, Precision.ESTIMATED)


def at_least(value: int) -> Count:
    return Count(value, Precision.AT_LEAST)


INCREASES = [
    (Count(5), Count(5), False),
    (Count(5), Count(6), True),
    (Count(5), Count(4), False),
    (Count(0), Count(1), True),
    # Two estimates differ.
    (estimated(1000), estimated(1099), False),
    (estimated(1000), estimated(1101), True),
    (Count(1000), estimated(1099), False),
    (estimated(1000), Count(1101), True),
    # An unknown count was accepted as any number; a count that is unknown now may be higher.
    (None, Count(5), False),
    (None, None, False),
    (Count(5), None, True),
    (at_least(100), at_least(100), False),
    (at_least(100), Count(5000), False),
    (Count(5), at_least(100), True),
]


@pytest.mark.parametrize(("before", "now", "increased"), INCREASES)
def test_higher_count_is_an_increase(before: Count | None, now: Count | None, increased: bool) -> None:
    for accepted, current in (
        (replace(COLUMN, non_null=before), replace(COLUMN, non_null=now)),
        (replace(TABLE, rows=before), replace(TABLE, rows=now)),
    ):
        assert bool(list(increased_losses([accepted], [current]))) is increased


def test_rows_of_a_column_without_values_are_no_increase() -> None:
    column = replace(COLUMN, non_null=Count(5))
    assert list(increased_losses([column], [replace(column, rows=Count(99))])) == []


def test_effects_and_revisions_are_separate_losses() -> None:
    deleted = replace(TABLE, effect=Effect.DELETED, revision="m2", rows=Count(5))
    others = (replace(deleted, effect=Effect.UPDATED), replace(deleted, revision="m3"), TABLE)
    assert [now for _, now in increased_losses([deleted], [deleted, *others])] == list(others)
