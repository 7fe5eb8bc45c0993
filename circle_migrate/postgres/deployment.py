"""The databases that are migrated together, and the combined graph of their revisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from circle_migrate.core.errors import MigrateError, SettingsError
from circle_migrate.postgres.database import Database, State
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.graph import Graph

if TYPE_CHECKING:
    from circle_migrate.config.settings import Settings
    from circle_migrate.revision_graph.plan import Direction, TransactionMode

Current = Mapping[str, tuple[str, ...]]
"""The current revisions of each database."""

T = TypeVar("T")

_TURNS_TO_CONNECT = 5
"""Iterations of the event loop until a new connection has sent its first message. They are run before the
files of a database are read, so that the servers work in the meantime."""


class Deployment:
    """All databases in the order of locks and commits; those outside `only` are read if required.

    With `is_scratch` they are scratch databases, which nobody else changes; `is_server_shared` says that
    their server has live databases, too.
    """

    def __init__(
        self,
        settings: Settings,
        only: str | Collection[str] | None = None,
        *,
        is_scratch: bool = False,
        is_server_shared: bool = False,
    ) -> None:
        self.settings, self.is_scratch, self.is_server_shared = settings, is_scratch, is_server_shared
        self.databases = {name: Database(database) for name, database in settings.databases.items()}
        wanted = {only} if isinstance(only, str) else set(only or self.databases)
        for name in wanted:
            settings.ensure_database(name)
        self.selected = tuple(name for name in self.databases if name in wanted)

    @property
    def transaction_mode(self) -> TransactionMode:
        """Which steps share a transaction."""
        from circle_migrate.revision_graph.plan import TransactionMode

        return TransactionMode(self.settings.transaction)

    @property
    def commit_mode(self) -> str:
        """How a segment of several databases is committed: `serial` or `atomic`."""
        return "atomic" if self.settings.atomic else "serial"

    @cached_property
    def combined_graph(self) -> CombinedGraph:
        """The combined graph of all revisions. Raises `TreeError` for a broken file."""
        return CombinedGraph({name: database.graph for name, database in self.databases.items()})

    @property
    def graphs(self) -> dict[str, Graph]:
        """The graphs of the selected databases."""
        return {name: self.combined_graph.graphs[name] for name in self.selected}

    def ensure_revisions(self) -> None:
        """Raise `SettingsError` if the first selected database has no revision: its folder may be wrong."""
        name = self.selected[0]
        if not self.combined_graph.graphs[name]:
            folders = ", ".join(map(str, self.databases[name].revision_folders))
            raise SettingsError(
                f"{name} has no revision: {folders} has no revision file",
                database=name,
                hint=f"correct `revisions` in [tool.circle-migrate.databases.{name}], or write the first "
                f"revision: circle-migrate revision --database {name} -m TEXT",
            )

    async def states_or_errors(self, names: Iterable[str] | None = None) -> dict[str, State | MigrateError]:
        """Read the states of the databases concurrently; return an error for a state that cannot be read."""
        return await self.query_each(names or self.selected, Database.state)

    async def query_each(
        self, names: Iterable[str], query: Callable[[Database], Coroutine[Any, Any, T]]
    ) -> dict[str, T | MigrateError]:
        """Query the databases concurrently, and read the revision files in the meantime.

        Returns an error for a database whose query fails. Raises `TreeError` for a broken revision file in
        any case, and `SettingsError` for a missing URL before any server is queried.
        """
        names = tuple(names)
        databases = [self.databases[name] for name in names]
        try:
            for database in databases:
                _ = database.address
        except SettingsError:
            _ = self.combined_graph  # errors in files take precedence
            raise
        queries = asyncio.gather(*(query(database) for database in databases), return_exceptions=True)
        try:
            for database in self.databases.values():
                for _ in range(_TURNS_TO_CONNECT):
                    await asyncio.sleep(0)
                _ = database.graph
            _ = self.combined_graph
        except BaseException:
            queries.cancel()
            await asyncio.gather(queries, return_exceptions=True)  # or asyncio logs unretrieved exceptions
            raise
        results = dict(zip(names, await queries, strict=True))
        for result in results.values():
            if isinstance(result, BaseException) and not isinstance(result, MigrateError):
                raise result
        return cast("dict[str, T | MigrateError]", results)

    async def states(self, names: Iterable[str] | None = None) -> dict[str, State]:
        """Read the states of the databases. Raises the error of the first that cannot be read."""
        states = {}
        for name, state in (await self.states_or_errors(names)).items():
            if isinstance(state, MigrateError):
                raise state
            states[name] = state
        return states

    def planned_databases(self, direction: Direction) -> tuple[str, ...]:
        """Return the `reachable_databases` without those that have no URL, unless they are selected.

        A plan for the others raises `SettingsError` where one of its steps needs a database without a URL.
        """
        return tuple(
            name
            for name in self.reachable_databases(direction)
            if name in self.selected or self.databases[name].settings.url is not None
        )

    def reachable_databases(self, direction: Direction) -> tuple[str, ...]:
        """Return the selected databases and those that requirements lead to in this direction."""
        if len(self.selected) == len(self.databases):
            return self.selected  # without reading the files: `query_each` reads them while it waits
        graph = self.combined_graph
        if not graph.required_by:
            return self.selected
        from circle_migrate.revision_graph.plan import Direction

        names = {f"{name}@{key}" for name in self.selected for key in graph.graphs[name].revisions}
        closure = graph.with_dependencies if direction is Direction.UP else graph.with_dependents
        reachable = {name.partition("@")[0] for name in closure(names)} | set(self.selected)
        return tuple(name for name in self.databases if name in reachable)


def revision_folders(deployment: Deployment) -> dict[str, str]:
    """Return the revisions folder of each selected database, the location of findings without a file."""
    return {name: str(deployment.databases[name].revision_folders[0]) for name in deployment.selected}
