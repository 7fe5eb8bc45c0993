"""All trees of a deployment and what their revisions require of each other, as one graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from circle_migrate.core.errors import TreeError
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.revision_graph.traversal import closure, topological


class CombinedGraph:
    """The trees of all databases of a deployment with the requirements between them.

    Raises `TreeError` where a requirement names nothing, its own tree, or closes a circle.
    """

    def __init__(self, graphs: Mapping[str, Graph]) -> None:
        self.graphs = dict(graphs)
        self.requires = {
            f"{database}@{key}": self._requirements(graph[key])
            for database, graph in self.graphs.items()
            for key in graph.requires
        }
        self.required_by: dict[str, list[str]] = {}
        for name, needs in self.requires.items():
            for need in needs:
                self.required_by.setdefault(need, []).append(name)
        if self.required_by:
            self._refuse_circles()

    def revision(self, qualified: str) -> Revision:
        """The revision with a name such as `main@dca7825748db`."""
        database, _, key = qualified.partition("@")
        return self.graphs[database][key]

    def _requirements(self, revision: Revision) -> tuple[str, ...]:
        found = []
        for name in revision.requires:
            database, at, key = name.partition("@")
            graph = self.graphs.get(database)
            if not at or graph is None or database == revision.database or key not in graph:
                raise TreeError(
                    f"revision {revision.id} requires {name!r}, which "
                    + _requirement_error(revision, name, self.graphs),
                    database=revision.database,
                    location=revision.location,
                    hint='write requires = ("database@full-id",) with a revision of another database',
                )
            found.append(name)
        return tuple(found)

    def parents(self, qualified: str) -> list[str]:
        """Everything that must be applied before the revision, in its own tree and in others."""
        database, _, key = qualified.partition("@")
        own = [f"{database}@{parent}" for parent in self.graphs[database].parents[key]]
        return [*own, *self.requires.get(qualified, ())]

    def _refuse_circles(self) -> None:
        names = [f"{database}@{key}" for database, graph in self.graphs.items() for key in graph.revisions]
        order = self.order(names)
        if len(order) < len(names):
            circle = [self.revision(name) for name in names if name not in set(order)]
            raise TreeError(
                "requirements between the databases form a circle through "
                + ", ".join(revision.qualified for revision in circle),
                database=circle[0].database,
                location=circle[0].location,
                hint="remove one of the `requires` in these files",
            )

    def requirements(self, names: Collection[str]) -> set[str]:
        """What the revisions require of other databases, themselves and not through their parents."""
        return {need for name, needs in self.requires.items() if name in names for need in needs}

    def order(self, names: Collection[str]) -> list[str]:
        """One order over all databases: parents and requirements first, else the first database's first."""
        rank = {name: position for position, name in enumerate(self.graphs)}
        parents = {name: self.parents(name) for name in names}

        def position(name: str) -> int:
            database, _, key = name.partition("@")
            return rank[database] * 1_000_000 + self.graphs[database].order[key]

        return topological(names, parents, position)

    def with_dependencies(self, names: Iterable[str]) -> set[str]:
        """The revisions with everything they follow or require, over all databases."""
        return closure(names, self.parents)

    def with_dependents(self, names: Iterable[str]) -> set[str]:
        """The revisions with everything that follows or requires them, over all databases."""

        def children(name: str) -> list[str]:
            database, _, key = name.partition("@")
            own = [f"{database}@{child}" for child in self.graphs[database].children[key]]
            return [*own, *self.required_by.get(name, ())]

        return closure(names, children)


def _requirement_error(revision: Revision, name: str, graphs: Mapping[str, Graph]) -> str:
    database, at, _ = name.partition("@")
    if not at:
        return "names no database"
    if database not in graphs:
        return f"names an unknown database ({', '.join(graphs)} exist)"
    if database == revision.database:
        return "is in its own tree (use `depends_on` for that)"
    return "does not exist"
