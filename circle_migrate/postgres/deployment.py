"""The databases that are migrated together, with the revision trees of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from circle_migrate.core.errors import MigrateError, SettingsError, UsageError
from circle_migrate.postgres.database import Database, State
from circle_migrate.revision_graph.directory import versions_folder
from circle_migrate.revision_graph.forest import CombinedGraph
from circle_migrate.revision_graph.graph import Graph

if TYPE_CHECKING:
    from circle_migrate.config.settings import Settings
    from circle_migrate.revision_graph.plan import Direction, TransactionMode

Current = Mapping[str, tuple[str, ...]]
"""The current revisions of each database."""

T = TypeVar("T")

_TURNS_TO_CONNECT = 5
"""Iterations of the event loop until a new connection has sent its first message; also run before each tree
is read, so that answers that arrived meanwhile lead to the next query."""


class Deployment:
    """One database of each name, in the order in which they are locked and committed.

    `only` restricts what a command is about; the other databases are still read where a requirement leads
    to them.
    """

    def __init__(self, settings: Settings, only: str | None = None) -> None:
        self.settings = settings
        self.databases = {
            database_settings.name: Database(database_settings) for database_settings in settings.databases
        }
        if only is not None and only not in self.databases:
            raise UsageError(f"there is no database {only!r}", hint="databases: " + ", ".join(self.databases))
        self.selected = (only,) if only is not None else tuple(self.databases)

    @property
    def grouping(self) -> TransactionMode:
        """How many steps share a transaction."""
        from circle_migrate.revision_graph.plan import TransactionMode

        return TransactionMode(self.settings.transaction)

    @property
    def commit_mode(self) -> str:
        """How a segment over several databases is committed: `serial` or `atomic`."""
        return "atomic" if self.settings.atomic else "serial"

    @cached_property
    def forest(self) -> CombinedGraph:
        """All trees. Raises `TreeError` for a broken file in any of them."""
        return CombinedGraph({name: database.graph for name, database in self.databases.items()})

    @property
    def graphs(self) -> dict[str, Graph]:
        """The trees the command is about."""
        return {name: self.forest.graphs[name] for name in self.selected}

    async def states_or_errors(self, names: Iterable[str] | None = None) -> dict[str, State | MigrateError]:
        """The state of each database or why it could not be read; all are asked at once."""
        return await self.query_each(names or self.selected, Database.state)

    async def query_each(
        self, names: Iterable[str], question: Callable[[Database], Coroutine[Any, Any, T]]
    ) -> dict[str, T | MigrateError]:
        """What each database answers, asked at once, or why it does not; meanwhile the trees are read.

        Raises `TreeError` for a broken tree, whatever a database says, and `SettingsError` for a missing URL
        before any server is asked.
        """
        asked = [self.databases[name] for name in names]
        self._ensure_addressed(asked)
        answers = await self._run_queries(question(database) for database in asked)
        return {database.name: answer for database, answer in zip(asked, answers, strict=True)}

    def _ensure_addressed(self, databases: Iterable[Database]) -> None:
        try:
            for database in databases:
                _ = database.address
        except SettingsError:
            _ = self.forest  # what is wrong with the files comes first, as it does where no server is asked
            raise

    async def _run_queries(self, questions: Iterable[Coroutine[Any, Any, T]]) -> list[T | MigrateError]:
        asked = asyncio.gather(*questions, return_exceptions=True)
        try:
            for database in self.databases.values():
                for _ in range(_TURNS_TO_CONNECT):
                    await asyncio.sleep(0)
                _ = database.graph
            _ = self.forest
        except BaseException:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)  # or asyncio would complain of it on stderr
            raise
        answers = await asked
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, MigrateError):
                raise answer
        return cast("list[T | MigrateError]", answers)

    async def states(self, names: Iterable[str] | None = None) -> dict[str, State]:
        """The state of each database. Raises the first one's error; then nothing further is done."""
        states = {}
        for name, answer in (await self.states_or_errors(names)).items():
            if isinstance(answer, MigrateError):
                raise answer
            states[name] = answer
        return states

    def reachable_databases(self, direction: Direction) -> tuple[str, ...]:
        """The selected databases with those that requirements can lead to in this direction."""
        if len(self.selected) == len(self.databases):
            return self.selected  # at once: the trees are better read while servers answer
        forest = self.forest
        if not forest.required_by:
            return self.selected
        from circle_migrate.revision_graph.plan import Direction

        names = {f"{name}@{key}" for name in self.selected for key in forest.graphs[name].revisions}
        names = (
            forest.with_dependencies(names) if direction is Direction.UP else forest.with_dependents(names)
        )
        found = {name.partition("@")[0] for name in names} | set(self.selected)
        return tuple(name for name in self.databases if name in found)


def folders(deployment: Deployment) -> dict[str, str]:
    """The folder of each tree, for report formats that want a place for every finding."""
    selected = {name: deployment.databases[name].settings.revisions for name in deployment.selected}
    return {name: str(versions_folder(folder)) for name, folder in selected.items()}
