"""Links between revisions, and what follows from them alone."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

Links = Mapping[str, Sequence[str]]
"""For each revision, others it is connected with."""


def topological(
    keys: Iterable[str], parents: Mapping[str, Iterable[str]], rank: Callable[[str], int]
) -> list[str]:
    """The keys with each after its parents, the lowest rank first among those ready; short where a circle is.

    Parents outside `keys` count as done.
    """
    waiting = dict.fromkeys(keys, 0)
    followers: dict[str, list[str]] = {}
    for key in waiting:
        for parent in parents[key]:
            if parent in waiting:
                waiting[key] += 1
                followers.setdefault(parent, []).append(key)
    ready = [(rank(key), key) for key, count in waiting.items() if not count]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        _, key = heapq.heappop(ready)
        order.append(key)
        for follower in followers.get(key, ()):
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, (rank(follower), follower))
    return order


def unnamed(keys: Collection[str], links: Links) -> set[str]:
    """Those that none of them has a link to."""
    return set(keys).difference(*(links[key] for key in keys))


def closure(keys: Iterable[str], links: Links) -> set[str]:
    """The keys and everything their links lead to."""
    seen: set[str] = set()
    todo = list(keys)
    while todo:
        key = todo.pop()
        if key not in seen:
            seen.add(key)
            todo.extend(links[key])
    return seen
