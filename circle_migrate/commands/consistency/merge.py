"""Which keys stand on one side only: a merge of two ascending streams that holds one batch of each."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from circle_migrate.config.relation import Side

K = TypeVar("K", int, bytes)


@dataclass(slots=True)
class StreamSide(Generic[K]):
    """What is known of one side: the rows that were read, and the keys that the other side has not.

    `alone` counts these keys, each once, and `first` are the lowest of them, as many as are kept. `last` is
    the highest that was read.
    """

    rows: int = 0
    unmatched: int = 0
    first: list[K] = field(default_factory=list)
    waiting: list[K] = field(default_factory=list)
    last: K | None = None
    ended: bool = False

    def cut(self, bound: K | None) -> list[K]:
        """Take the waiting keys up to a bound, all of them where there is none."""
        place = len(self.waiting) if bound is None else bisect_right(self.waiting, bound)
        keys, self.waiting = self.waiting[:place], self.waiting[place:]
        return keys


class SortedMerge(Generic[K]):
    """Two ascending streams of keys, given batch by batch; a key may come more than once.

    Read a batch of the side that is `wanted`, `add` it, or `end` the side, until none is wanted. Batches may
    be of any size: what is compared at once are keys up to the lowest of both batches' last ones.
    """

    def __init__(self, keep: int) -> None:
        self.halves: dict[Side, StreamSide[K]] = {side: StreamSide() for side in Side}
        self._keep = keep
        self._bound: K | None = None

    @property
    def wanted(self) -> Side | None:
        """The side of which more is needed; None where both have ended."""
        return next((side for side, half in self.halves.items() if not (half.ended or half.waiting)), None)

    def add(self, side: Side, keys: list[K]) -> None:
        """The next keys of a side. Raises `ValueError` where they do not ascend."""
        half = self.halves[side]
        if not keys:
            return
        if keys != sorted(keys) or (half.last is not None and keys[0] < half.last):
            raise ValueError(f"the keys of the {side.value} side do not ascend")
        half.rows += len(keys)
        half.last = keys[-1]
        half.waiting += keys if self._bound is None else keys[bisect_right(keys, self._bound) :]
        self._compare()

    def end(self, side: Side) -> None:
        """There are no more keys on a side."""
        self.halves[side].ended = True
        self._compare()

    def _compare(self) -> None:
        halves = self.halves.values()
        if self.wanted is not None:
            return
        lasts = [half.waiting[-1] for half in halves if not half.ended]
        bound = min(lasts) if lasts else None
        left, right = (half.cut(bound) for half in halves)
        if bound is not None:
            self._bound = bound
        if left != right:
            self._note(Side.LEFT, set(left) - set(right))
            self._note(Side.RIGHT, set(right) - set(left))

    def _note(self, side: Side, alone: set[K]) -> None:
        half = self.halves[side]
        half.unmatched += len(alone)
        if alone and len(half.first) < self._keep:
            half.first += sorted(alone)[: self._keep - len(half.first)]
