"""Runs of several scratch databases at the same time. On live databases the order of commits is a promise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import event
from sqlalchemy.util import await_only

from circle_migrate.core.shield import gather_or_cancel
from circle_migrate.migrate.run import Hooks
from circle_migrate.migrate.session import CLUSTER_WIDE
from circle_migrate.postgres.sql_text import compile_pattern
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.modules import shared_folder
from circle_migrate.revision_graph.plan import Action

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")

_SHARED = compile_pattern(
    rf"{CLUSTER_WIDE.pattern}|\b(?:GRANT|REVOKE)\b(?!.*\bON\b)|\bCOMMENT\s+ON\s+(?:ROLE|DATABASE|TABLESPACE)\b"
)
"""Statements about objects that the databases of a server share."""


def are_independent(graph: CombinedGraph, revisions: Collection[str]) -> bool:
    """Return whether the revisions (`database@id`) of each database can run without those of the others.

    They cannot if one requires another one, nor if they share modules, as their folders are nested.
    """
    names = set(revisions)
    if not all(names.isdisjoint(graph.requires.get(name, ())) for name in names):
        return False
    parents: dict[str, set[Path]] = {}
    for revision in map(graph.revision, names):
        parents.setdefault(revision.database, set()).add(Path(revision.path).parent)
    folders = [{shared_folder(parent / "revision") for parent in found} for found in parents.values()]
    return not any(
        a.is_relative_to(b) or b.is_relative_to(a)
        for one, other in combinations(folders, 2)
        for a in one
        for b in other
    )


async def run_at_once(works: Iterable[Callable[[Hooks], Coroutine[object, object, T]]]) -> list[T]:
    """Run the works at the same time, return their results, or end all and raise the first error.

    The hooks that a work gets are for its runs: they let only one work change what its server shares.
    """
    lock = asyncio.Lock()

    async def run(work: Callable[[Hooks], Coroutine[object, object, T]]) -> T:
        turn = _ServerTurn(lock)
        try:
            return await work(turn)
        finally:
            if turn.is_held:
                lock.release()

    return await gather_or_cancel(map(run, works))


class _ServerTurn(Hooks):
    """Lets the work wait, before its first statement about shared objects, for one that has sent such."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self.is_held = False
        self._lock = lock

    def before_step(self, connection: Connection, action: Action) -> None:  # noqa: ARG002 - as declared
        """Watch the statements of the connection."""
        if not event.contains(connection, "before_cursor_execute", self._wait):
            event.listen(connection, "before_cursor_execute", self._wait)

    def _wait(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not self.is_held and _SHARED.search(statement):
            await_only(self._lock.acquire())
            self.is_held = True
