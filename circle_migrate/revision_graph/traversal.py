"""Graph algorithms: topological order and transitive closure."""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

Edges = Mapping[str, Sequence[str]]
"""The neighbours of every revision in one direction."""


def topological(
    nodes: Iterable[T],
    predecessors: Mapping[T, Iterable[T]],
    rank: Callable[[T], Any],
    *,
    cut_cycles: bool = False,
) -> list[T]:
    """Sort the nodes, each after its predecessors, by rank where that leaves a choice.

    Predecessors outside `nodes` are ignored. Nodes on or behind a cycle are left out, or with `cut_cycles` a
    cycle is cut at its lowest rank.
    """
    waiting = dict.fromkeys(nodes, 0)
    followers: dict[T, list[T]] = {}
    for node in waiting:
        for predecessor in predecessors.get(node, ()):
            if predecessor in waiting:
                waiting[node] += 1
                followers.setdefault(predecessor, []).append(node)
    ready = [(rank(node), node) for node, count in waiting.items() if not count]
    heapq.heapify(ready)
    order: list[T] = []
    while ready or (cut_cycles and waiting):
        node = heapq.heappop(ready)[1] if ready else min(waiting, key=rank)
        del waiting[node]
        order.append(node)
        for follower in followers.get(node, ()):
            if follower in waiting:
                waiting[follower] -= 1
                if not waiting[follower]:
                    heapq.heappush(ready, (rank(follower), follower))
    return order


def without_followers(keys: Collection[str], parents: Edges) -> set[str]:
    """Return the revisions that are no parent of another one of `keys`."""
    return set(keys).difference(*(parents[key] for key in keys))


def closure(nodes: Iterable[T], successors: Callable[[T], Iterable[T]]) -> set[T]:
    """Return the nodes and everything reachable from them."""
    return set(reachable(nodes, successors))


def reachable(nodes: Iterable[T], successors: Callable[[T], Iterable[T]]) -> Iterator[T]:
    """Yield the nodes and everything reachable from them."""
    seen: set[T] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            yield node
            todo.extend(successors(node))
