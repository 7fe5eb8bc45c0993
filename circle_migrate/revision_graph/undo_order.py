"""The order of one database's revisions: Alembic's, by ids and what they follow, not by file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Protocol

from circle_migrate.revision_graph.traversal import Edges, closure


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
    waiting = dict.fromkeys(keys, 0)  # how many of `keys` that follow it are not yet undone
    for key in keys:
        for parent in parents[key]:
            if parent in waiting:
                waiting[parent] += 1
    branches = sorted(key for key, count in waiting.items() if not count)
    listed = set(branches)  # what is or was in `branches`
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
            if len(follows) != 1 or waiting.get(follows[0]) != 1 or follows[0] in listed:
                break
            key = follows[0]
        for parent in follows:
            if parent in waiting:
                waiting[parent] -= 1
        below = [
            parent for parent in _below(graph, key, shared) if parent in waiting and parent not in listed
        ]
        listed.update(below)
        branches[position : position + 1] = below[:1]
        branches += below[1:]
        if not below:
            position = max(position - 1, 0)
    return order


def _below(graph: _Graph, key: str, shared: Collection[str]) -> Sequence[str]:
    """Return what a revision follows and depends on, without what a revision that it follows depends on."""
    if key not in graph.dependencies:
        return graph.down_revisions[key]
    own = (
        need for need in graph.dependencies[key] if need not in shared or not _is_inherited(graph, key, need)
    )
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
