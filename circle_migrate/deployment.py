"""The databases that are migrated together: reading all of them, and planning over all their trees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from circle_migrate.core.forest import Forest
from circle_migrate.core.revisions import Graph
from circle_migrate.database import Database, State
from circle_migrate.errors import (
    CircleError,
    Refused,
    SettingsError,
    UnknownRevision,
    UsageError,
    WrongDatabase,
)
from circle_migrate.pondering import Pondering

if TYPE_CHECKING:
    from circle_migrate.core.plan import Direction, Grouping, Plan
    from circle_migrate.settings import Settings

Current = Mapping[str, tuple[str, ...]]
"""The current revisions of each database."""

T = TypeVar("T")

_TURNS_TO_CONNECT = 5
"""How often the event loop turns until a connection's first message is on its way, and there is time."""


class Deployment:
    """One database of each name, in the order in which they are locked and committed.

    `only` restricts what a command is about; the other databases are still read where a requirement leads
    to them.
    """

    def __init__(self, settings: Settings, only: str | None = None) -> None:
        self.settings = settings
        self.databases = {each.name: Database(each) for each in settings.databases}
        if only is not None and only not in self.databases:
            raise UsageError(f"there is no database {only!r}", hint="databases: " + ", ".join(self.databases))
        self.selected = (only,) if only is not None else tuple(self.databases)

    @property
    def grouping(self) -> Grouping:
        """How many steps share a transaction."""
        from circle_migrate.core.plan import Grouping

        return Grouping(self.settings.transaction)

    @cached_property
    def forest(self) -> Forest:
        """All trees. Raises `TreeError` for a broken file in any of them."""
        return Forest({name: database.graph for name, database in self.databases.items()})

    @property
    def graphs(self) -> dict[str, Graph]:
        """The trees the command is about."""
        return {name: self.forest.graphs[name] for name in self.selected}

    async def survey(self, names: Iterable[str] | None = None) -> dict[str, State | CircleError]:
        """The state of each database or why it could not be read; all are asked at once."""
        return await self.answers(names or self.selected, Database.state)

    async def answers(
        self, names: Iterable[str], question: Callable[[Database], Coroutine[Any, Any, T]]
    ) -> dict[str, T | CircleError]:
        """What each database answers, asked at once, or why it does not; meanwhile the trees are read.

        Raises `TreeError` for a broken tree, whatever a database says, and `SettingsError` for a missing URL
        before any server is asked.
        """
        asked = [self.databases[name] for name in names]
        self._refuse_unaddressed(asked)
        answers = await self._answers(question(database) for database in asked)
        return {database.name: answer for database, answer in zip(asked, answers, strict=True)}

    def _refuse_unaddressed(self, databases: Iterable[Database]) -> None:
        try:
            for database in databases:
                _ = database.address
        except SettingsError:
            _ = self.forest  # what is wrong with the files comes first, as it does where no server is asked
            raise

    async def _answers(self, questions: Iterable[Coroutine[Any, Any, T]]) -> list[T | CircleError]:
        pondering = Pondering()
        for database in self.databases.values():
            database.pondering = pondering
        asked = asyncio.gather(*questions, return_exceptions=True)
        asked.add_done_callback(lambda _: pondering.end())
        try:
            for _ in range(_TURNS_TO_CONNECT):
                await asyncio.sleep(0)
            for database in self.databases.values():
                while database.tree.look():
                    await pondering.wait()
            _ = self.forest
        except BaseException:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)  # or asyncio would complain of it on stderr
            raise
        answers = await asked
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, CircleError):
                raise answer
        return cast("list[T | CircleError]", answers)

    async def states(self, names: Iterable[str] | None = None) -> dict[str, State]:
        """The state of each database. Raises the first one's error; then nothing further is done."""
        states = {}
        for name, answer in (await self.survey(names)).items():
            if isinstance(answer, CircleError):
                raise answer
            states[name] = answer
        return states

    def recognise(self, states: Mapping[str, State]) -> dict[str, tuple[str, ...]]:
        """The current revisions, after making sure that these are the right databases.

        Raises `WrongDatabase` where two are the same or a version belongs to another tree, `UnknownRevision`
        where no tree knows it, `Refused` where the version table contradicts itself.
        """
        refuse_same(states)
        for state in states.values():
            _refuse_foreign_journal(state)
            self._refuse_unknown(state)
        return {name: state.current for name, state in states.items()}

    def _refuse_unknown(self, state: State) -> None:
        graph = self.forest.graphs[state.database]
        for key in state.current:
            if key not in graph:
                raise self._stranger(key, state)
        if set(state.current) == set(graph.real_heads):
            return
        tips = graph.tips(graph.ancestors(state.current))
        if sorted(tips) != sorted(state.current):
            raise Refused(
                f"{state.database}: the version table names {', '.join(state.current)}, "
                f"of which {', '.join(tips)} would be enough",
                database=state.database,
                state="nothing was changed",
                hint=f"if the schema really is there: circle-migrate stamp {' '.join(tips)} --purge",
            )

    def _stranger(self, key: str, state: State) -> CircleError:
        for name, graph in self.forest.graphs.items():
            if key in graph:
                return WrongDatabase(
                    f"{state.database} is at {key}, a revision of {name}: the URLs seem to be swapped",
                    database=state.database,
                    state="nothing was changed",
                    hint="compare the two URLs: `circle-migrate config show`",
                )
        return UnknownRevision(
            f"{state.database} is at {key}, which is in none of the trees: a newer release was here, or the "
            "revision is on another branch, or its file is gone, or this is another application's database",
            database=state.database,
            state="nothing was changed",
            hint="install the release that has it"
            + (f"; its text is in the journal: circle-migrate log --source {key}" if state.journal_of else "")
            + f"; where it is lost for good: circle-migrate stamp {state.database}@REVISION --purge",
        )

    def plan_upgrade(self, current: Current, texts: Sequence[str], grouping: Grouping | None = None) -> Plan:
        """The plan to the targets, over the databases in `current`."""
        from circle_migrate.core import targets
        from circle_migrate.core.plan import Grouping, Plan, plan_upgrade

        graphs = self.graphs
        assigned = targets.assign(texts, graphs)
        tops = all(targets.is_top(graphs[name], target) for name, target in assigned.items())
        if tops and self._everything_is_applied(current):
            return Plan(dict(current), {name: self.forest.graphs[name].real_heads for name in current})
        wanted = {
            name: targets.wanted(graphs[name], current[name], target) for name, target in assigned.items()
        }
        return plan_upgrade(self.forest, current, wanted, grouping or Grouping.ALL)

    def _everything_is_applied(self, current: Current) -> bool:
        graphs = self.forest.graphs
        return graphs.keys() == current.keys() and not any(
            graphs[name].pending(heads) for name, heads in current.items()
        )

    def plan_downgrade(
        self,
        current: Current,
        texts: Sequence[str],
        grouping: Grouping | None = None,
        *,
        cascade: bool = False,
    ) -> Plan:
        """The plan down to the targets, over the databases in `current`."""
        from circle_migrate.core import targets
        from circle_migrate.core.plan import Grouping, plan_downgrade

        graphs = self.graphs
        unwanted = {
            name: targets.unwanted(graphs[name], current[name], target)
            for name, target in targets.assign(texts, graphs).items()
        }
        return plan_downgrade(self.forest, current, unwanted, grouping or Grouping.ALL, cascade=cascade)

    def plan_stamp(self, current: Current, texts: Sequence[str], *, purge: bool = False) -> Plan:
        """The version rows that claim the targets."""
        from circle_migrate.core import targets
        from circle_migrate.core.plan import plan_stamp

        graphs = self.graphs
        claims = {}
        for name, target in targets.assign(texts, graphs).items():
            known = tuple(key for key in current[name] if key in graphs[name])
            claims[name] = targets.claimed(graphs[name], known, target)
        return plan_stamp(self.forest, current, claims, purge=purge)

    def within_reach(self, direction: Direction) -> tuple[str, ...]:
        """The selected databases with those that requirements can lead to in this direction."""
        if len(self.selected) == len(self.databases):
            return self.selected  # at once: the trees are better read while servers answer
        forest = self.forest
        if not forest.required_by:
            return self.selected
        from circle_migrate.core.plan import Direction

        names = {f"{name}@{key}" for name in self.selected for key in forest.graphs[name].revisions}
        names = forest.closure_up(names) if direction is Direction.UP else forest.closure_down(names)
        found = {name.partition("@")[0] for name in names} | set(self.selected)
        return tuple(name for name in self.databases if name in found)


def _refuse_foreign_journal(state: State) -> None:
    if state.journal_of not in (None, state.database):
        raise WrongDatabase(
            f"{state.database} leads to a database that was migrated as {state.journal_of}",
            database=state.database,
            detail=f"the journal in {state.name!r} says so",
            state="nothing was changed",
            hint="the URLs seem to be swapped: `circle-migrate config show`",
        )


def refuse_same(states: Mapping[str, State]) -> None:
    """Raise `WrongDatabase` where two names lead to one database."""
    seen: dict[tuple[int, int], str] = {}
    for name, state in states.items():
        if state.identity is None:
            continue
        other = seen.setdefault(state.identity, name)
        if other != name:
            raise WrongDatabase(
                f"{other} and {name} are the same database: {state.name!r}",
                database=name,
                state="nothing was changed",
                hint="give each its own: `circle-migrate config show` says where the URLs came from",
            )
