"""An order in which every statement finds what it needs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def ordered(nodes: Collection[T], earlier: Mapping[T, Collection[T]], rank: Callable[[T], Any]) -> list[T]:
    """The nodes, each after those that `earlier` names for it; lowest rank first where that leaves a choice.

    A circle is cut at its lowest rank: PostgreSQL then says what the snapshots could not.
    """
    wanted = set(nodes)
    waiting = {
        node: {other for other in earlier.get(node, ()) if other in wanted} - {node} for node in wanted
    }
    later: dict[T, list[T]] = {node: [] for node in wanted}
    for node, others in waiting.items():
        for other in others:
            later[other].append(node)
    counts = {node: len(others) for node, others in waiting.items()}
    ready = [(rank(node), node) for node in wanted if not counts[node]]
    heapq.heapify(ready)
    done: list[T] = []
    left = set(wanted)
    while left:
        node = heapq.heappop(ready)[1] if ready else min(left, key=rank)
        if node not in left:
            continue
        left.remove(node)
        done.append(node)
        for other in later[node]:
            counts[other] -= 1
            if not counts[other] and other in left:
                heapq.heappush(ready, (rank(other), other))
    return done
