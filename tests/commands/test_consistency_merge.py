"""The merge of two ascending streams finds what sets would, whatever the batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circle_migrate.commands.consistency.merge import SortedMerge
from circle_migrate.config.relation import Side

INTEGERS = st.lists(st.integers(-20, 20), max_size=40).map(sorted)
BYTES = st.lists(st.binary(max_size=2), max_size=40).map(sorted)


@st.composite
def batches(draw: st.DrawFn, keys: list[int] | list[bytes]) -> list[list[int]] | list[list[bytes]]:
    """The keys cut anywhere, empty batches among them."""
    cuts = draw(st.lists(st.integers(0, len(keys)), max_size=6))
    return [keys[a:b] for a, b in pairwise(sorted([0, *cuts, len(keys)]))]


@st.composite
def two_sides(draw: st.DrawFn) -> dict[Side, list[list[int]]]:
    keys = draw(st.sampled_from([INTEGERS, BYTES]))
    return {side: draw(batches(draw(keys))) for side in Side}


def merged(sides: dict[Side, list[list[int]]], keep: int = 1000) -> SortedMerge[int]:
    merge: SortedMerge[int] = SortedMerge(keep)
    streams: dict[Side, Iterator[list[int]]] = {side: iter(item) for side, item in sides.items()}
    while (side := merge.next_side) is not None:
        keys = next(streams[side], None)
        if keys is None:
            merge.end(side)
        else:
            merge.add(side, keys)
    return merge


@given(two_sides(), st.integers(0, 5))
def test_alone_is_the_difference_of_the_sets(sides: dict[Side, list[list[int]]], keep: int) -> None:
    merge = merged(sides, keep)
    for side, stream in merge.sides.items():
        mine, theirs = ([key for keys in sides[one] for key in keys] for one in (side, side.other))
        alone = sorted(set(mine) - set(theirs))
        assert (stream.rows, stream.unmatched, stream.first) == (len(mine), len(alone), alone[:keep])


def test_no_more_is_held_than_a_batch_of_each() -> None:
    merge: SortedMerge[int] = SortedMerge(0)
    for start in range(0, 1000, 10):
        keys = list(range(start, start + 10))
        for side in Side:
            assert merge.next_side is side
            merge.add(side, keys)
            assert len(merge.sides[side].waiting) <= 10


@pytest.mark.parametrize("later", [[3, 2], [1]])
def test_keys_in_another_order_are_refused(later: list[int]) -> None:
    merge: SortedMerge[int] = SortedMerge(0)
    merge.add(Side.LEFT, [0, 2])
    with pytest.raises(ValueError, match="left side do not ascend"):
        merge.add(Side.LEFT, later)
