"""Graph algorithms: topological order, transitive closure, and Alembic's order, which ignores file names."""

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol, TypeVar

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
    seen: set[T] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(successors(node))
    return seen


class _Graph(Protocol):
    @property
    def parents(self) -> Edges: ...
    @property
    def children(self) -> Edges: ...
    @property
    def down_revisions(self) -> Edges: ...
    @property
    def dependencies(self) -> Edges: ...


def undo_order(graph: _Graph, keys: Collection[str]) -> list[str]:
    """Sort revisions as Alembic undoes them; it applies them in the reverse order.

    Alembic goes down one branch until it meets a revision that another branch follows too, then goes down
    that branch. Where a cycle stops it, the rest is left out.
    """
    parents = graph.parents
    followers = Counter(chain.from_iterable(map(parents.__getitem__, keys)))
    waiting = {key: followers[key] for key in keys}  # how many of `keys` that follow it are not yet undone
    branches = sorted(key for key, count in waiting.items() if not count)
    seen = set(branches)  # what is or was in `branches`
    above: dict[str, set[str]] = {}  # what follows a revision that had to wait
    needs = Counter(chain.from_iterable(graph.dependencies.values()))
    shared = {need for need, count in needs.items() if count > 1}
    order: list[str] = []
    position = 0
    while branches:
        key = branches[position]
        if waiting[key]:
            if key not in above:
                above[key] = closure([key], lambda parent: waiting.keys() & graph.children[parent])
                above[key].discard(key)
            others = (index for index, branch in enumerate(branches) if branch in above[key])
            position = next(others, -1)
            if position < 0:
                break
            continue
        while True:  # down a line without forks
            order.append(key)
            del waiting[key]
            follows = parents[key]
            if len(follows) != 1 or waiting.get(follows[0]) != 1 or follows[0] in seen:
                break
            key = follows[0]
        for parent in follows:
            if parent in waiting:
                waiting[parent] -= 1
        below = [node for node in _below(graph, key, shared) if node in waiting and node not in seen]
        seen.update(below)
        branches[position : position + 1] = below[:1]
        branches += below[1:]
        if not below:
            position = max(position - 1, 0)
    return order


def _below(graph: _Graph, key: str, shared: Collection[str]) -> Sequence[str]:
    """Return what a revision follows and depends on, without what a revision that it follows depends on."""
    if key not in graph.dependencies:
        return graph.down_revisions[key]
    needs = graph.dependencies[key]
    own = (need for need in needs if need not in shared or not _is_inherited(graph, key, need))
    return tuple(dict.fromkeys((*graph.down_revisions[key], *own)))


def _is_inherited(graph: _Graph, key: str, need: str) -> bool:
    """Return whether a revision that `key` follows depends on `need`."""
    seen: set[str] = set()
    todo = list(graph.down_revisions[key])
    while todo:
        other = todo.pop()
        if need in graph.dependencies.get(other, ()):
            return True
        if other not in seen:
            seen.add(other)
            todo.extend(graph.down_revisions[other])
    return False
