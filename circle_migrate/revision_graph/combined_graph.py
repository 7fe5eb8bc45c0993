"""The graphs of all databases with the requirements between them, as one graph."""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain, pairwise

from circle_migrate.core.errors import TreeError
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.revision_graph.traversal import closure, topological


class CombinedGraph:
    """The graphs of all databases of a deployment with the requirements between them.

    A qualified name is `database@id`. Raises `TreeError` where a requirement names no revision, a revision
    of its own database, or forms a cycle.
    """

    def __init__(self, graphs: Mapping[str, Graph]) -> None:
        self.graphs = dict(graphs)
        self.requires: dict[str, tuple[str, ...]] = {}
        self.required_by: dict[str, list[str]] = {}
        for database, graph in self.graphs.items():
            for key, needs in graph.requires.items():
                for need in needs:
                    self._ensure_valid(graph[key], need)
                self.requires[f"{database}@{key}"] = tuple(dict.fromkeys(map(self._squashed, needs)))
        for name, needs in self.requires.items():
            for need in needs:
                self.required_by.setdefault(need, []).append(name)
        if self.required_by:
            self._ensure_acyclic()

    def revision(self, qualified: str) -> Revision:
        """Return the revision with a qualified name."""
        database, _, key = qualified.partition("@")
        return self.graphs[database][key]

    def _squashed(self, qualified: str) -> str:
        """Return the squashed revision instead of one that it replaces."""
        database, _, key = qualified.partition("@")
        return f"{database}@{self.graphs[database].squashes.squashed_by.get(key, key)}"

    def _ensure_valid(self, revision: Revision, requirement: str) -> None:
        database, at, key = requirement.partition("@")
        if not at:
            problem = "names no database"
        elif database not in self.graphs:
            problem = f"names an unknown database (the databases are {', '.join(self.graphs)})"
        elif database == revision.database:
            problem = "is a revision of the same database (use `depends_on` instead)"
        elif key not in self.graphs[database]:
            problem = "does not exist"
        else:
            return
        raise TreeError(
            f"revision {revision.id} requires {requirement!r}, which {problem}",
            database=revision.database,
            location=revision.location,
            hint='write requires = ("database@full-id",) with a revision of another database',
        )

    def parents(self, qualified: str) -> list[str]:
        """Return the revisions that must be applied before the revision, of all databases."""
        database, _, key = qualified.partition("@")
        own = [f"{database}@{parent}" for parent in self.graphs[database].parents[key]]
        return [*own, *self.requires.get(qualified, ())]

    def _ensure_acyclic(self) -> None:
        names = [f"{database}@{key}" for database, graph in self.graphs.items() for key in graph.revisions]
        order = self.order(names)
        if len(order) < len(names):
            cycle = [self.revision(name) for name in names if name not in set(order)]
            raise TreeError(
                "requirements between the databases form a cycle through "
                + ", ".join(revision.qualified for revision in cycle),
                database=cycle[0].database,
                location=cycle[0].location,
                hint="remove one of the `requires` in these files",
            )

    def requirements(self, names: Collection[str]) -> set[str]:
        """Return the direct requirements of the revisions in other databases."""
        return {need for name, needs in self.requires.items() if name in names for need in needs}

    def order(self, names: Collection[str]) -> list[str]:
        """Sort the revisions as an upgrade applies them: those of each database in Alembic's order.

        A revision comes after its requirements; otherwise the first database comes first. Only where
        requirements contradict Alembic's order, revisions of a database that do not follow each other change
        places.
        """
        keys: dict[str, list[str]] = {name: [] for name in self.graphs}
        for qualified in names:
            database, _, key = qualified.partition("@")
            keys[database].append(key)
        orders = [
            [f"{database}@{key}" for key in reversed(self.graphs[database].undo_order(of_database))]
            for database, of_database in keys.items()
        ]
        rank = {name: position for position, name in enumerate(chain(*orders))}
        parents = {
            after: [before, *self.requires.get(after, ())]
            for order in orders
            for before, after in pairwise(["", *order])
        }
        order = topological(names, parents, rank.__getitem__)
        if len(order) < len(rank):
            order = topological(names, {name: self.parents(name) for name in names}, rank.__getitem__)
        return order

    def with_dependencies(self, names: Iterable[str]) -> set[str]:
        """Return the revisions with all their ancestors and requirements, of all databases."""
        return closure(names, self.parents)

    def with_dependents(self, names: Iterable[str]) -> set[str]:
        """Return the revisions with all that follow or require them, of all databases."""

        def children(name: str) -> list[str]:
            database, _, key = name.partition("@")
            own = [f"{database}@{child}" for child in self.graphs[database].children[key]]
            return [*own, *self.required_by.get(name, ())]

        return closure(names, children)
