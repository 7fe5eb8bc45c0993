"""Graphs of revisions by a seed."""

from __future__ import annotations

import random

Parents = dict[str, tuple[str, ...]]
"""The parents of each revision, the newest first."""


def random_graph(seed: int) -> Parents:
    """Return a graph of at most 14 revisions, with branches, merges and several bases."""
    choose = random.Random(seed)
    keys = [f"r{number}" for number in range(choose.randint(1, 14))]
    parents: Parents = {}
    for number, key in enumerate(keys):
        older = keys[number + 1 :]
        parents[key] = tuple(choose.sample(older, min(len(older), choose.choice([0, 1, 1, 1, 2, 3]))))
    return parents
