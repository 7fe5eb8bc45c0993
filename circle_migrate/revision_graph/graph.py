"""The graph of a database's revisions: heads, ancestors, descendants, lookup by name.

The graph needs neither Alembic nor the revision modules. It agrees with
`alembic.script.revision.RevisionMap`; a property test compares the two on random graphs.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

from circle_migrate.core.errors import SeveralHeads, TreeError, UsageError
from circle_migrate.revision_graph.revision import Revision, files_digest
from circle_migrate.revision_graph.squashes import Squashes
from circle_migrate.revision_graph.suggestion import suggestion
from circle_migrate.revision_graph.traversal import Edges, closure, reachable, topological, without_followers


class Graph:
    """The revisions of one database, also those that `squashes` replace.

    The constructor raises `TreeError` where they form no acyclic graph.
    """

    def __init__(self, database: str, revisions: Iterable[Revision]) -> None:
        self.database = database
        self.revisions: dict[str, Revision] = {}
        for revision in revisions:
            first = self.revisions.setdefault(revision.id, revision)
            if first is not revision and Path(first.path).resolve() != Path(revision.path).resolve():
                raise TreeError(
                    f"revision {revision.id} exists twice: in {first.location} and in {revision.location}",
                    database=database,
                    location=revision.location,
                    hint="give one of the two files another `revision` id",
                )
        self.squashes = Squashes(self.revisions)
        self.labels = self._find_labels()
        self._undo_order = self._sorted()  # raises the errors of parents and order

    @cached_property
    def parents(self) -> Edges:
        """The revisions that every revision follows or depends on."""
        parents = self.down_revisions.copy()
        unknown = set(chain.from_iterable(parents.values())).difference(self.revisions)
        for revision in self.revisions.values():
            if revision.depends_on or len(revision.down_revisions) > 1 or unknown:
                parents[revision.id] = self._find_parents(revision)
        return parents

    @cached_property
    def down_revisions(self) -> dict[str, tuple[str, ...]]:
        """The revisions that every revision follows by `down_revision`."""
        down = {revision.id: revision.down_revisions for revision in self.revisions.values()}
        down.update((squashed, (key,)) for key, squashed in self.squashes.ends.items())
        return down

    @cached_property
    def requires(self) -> Edges:
        """The requirements in other databases, of the revisions that have some."""
        return {revision.id: revision.requires for revision in self.revisions.values() if revision.requires}

    @cached_property
    def without_downgrade(self) -> tuple[str, ...]:
        """The revisions that have neither `downgrade()` nor `irreversible`."""
        return tuple(
            revision.id
            for revision in self.revisions.values()
            if not revision.has_downgrade and revision.irreversible is None
        )

    @cached_property
    def longest_id(self) -> str:
        """The id with the most characters."""
        return max(self.revisions, key=len, default="")

    @cached_property
    def digest(self) -> str:
        """The digest of all files (`files_digest`)."""
        return files_digest((revision.id, revision.checksum) for revision in self.revisions.values())

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """The revisions that follow or depend on every revision."""
        return self._reversed(self.parents)

    @cached_property
    def successors(self) -> dict[str, list[str]]:
        """The revisions that follow every revision by `down_revision`."""
        return self._reversed(self.down_revisions)

    def _reversed(self, edges: Edges) -> dict[str, list[str]]:
        reverse: dict[str, list[str]] = {key: [] for key in self.revisions}
        for key, targets in edges.items():
            for target in targets:
                reverse[target].append(key)
        return reverse

    def __len__(self) -> int:
        return len(self.revisions)

    def __contains__(self, key: str) -> bool:
        return key in self.revisions

    def __getitem__(self, key: str) -> Revision:
        return self.revisions[key]

    def _find_labels(self) -> Mapping[str, str]:
        """Return the revisions of the branch labels. Raises `TreeError` for a label that is not unique."""
        labels: dict[str, str] = {}
        for revision in self.revisions.values():
            for label in revision.labels:
                if label in self.revisions:
                    raise TreeError(
                        f"branch label {label!r} is the id of a revision",
                        database=self.database,
                        location=revision.location,
                        hint="give the branch another label",
                    )
                if label in labels:
                    raise TreeError(
                        f"branch label {label!r} is used by {labels[label]} and by {revision.id}",
                        database=self.database,
                        location=revision.location,
                        hint="remove the label from one of the files",
                    )
                labels[label] = revision.id
        return labels

    def _find_parents(self, revision: Revision) -> tuple[str, ...]:
        parents = (*revision.down_revisions, *self.dependencies.get(revision.id, ()))
        for parent in parents:
            if parent not in self.revisions:
                raise TreeError(
                    f"revision {revision.id} follows {parent}, which no revision file has",
                    database=self.database,
                    location=revision.location,
                    hint=suggestion(self.revisions, self.labels, parent, exclude=revision.id)
                    or "restore the missing file or correct `down_revision` or `depends_on`",
                )
        return tuple(dict.fromkeys(parents))

    @cached_property
    def dependencies(self) -> Edges:
        """The revisions that `depends_on` names, by id, label or prefix, of the revisions that have some."""
        return {
            revision.id: tuple(
                self.squashes.squashed_by.get(key, key) for key in map(self._dependency, revision.depends_on)
            )
            for revision in self.revisions.values()
            if revision.depends_on
        }

    def _dependency(self, name: str) -> str:
        matches = [self.labels[name]] if name in self.labels else self._by_prefix(name)
        return matches[0] if len(matches) == 1 else name

    @cached_property
    def order(self) -> Mapping[str, int]:
        """The position of every revision in an upgrade from base to all heads."""
        return {key: index for index, key in enumerate(reversed(self._undo_order))}

    def _sorted(self) -> list[str]:
        order = self.undo_order(self.revisions)
        if len(order) < len(self.revisions):
            acyclic = topological(self.revisions, self.parents, str)
            cycle = [self.revisions[key] for key in self.revisions if key not in set(acyclic)]
            raise TreeError(
                "revisions follow each other in a cycle: " + ", ".join(r.id for r in cycle),
                database=self.database,
                location=cycle[0].location,
                hint="correct `down_revision` or `depends_on` in "
                + ", ".join(sorted({r.location for r in cycle})),
            )
        return order

    def undo_order(self, keys: Collection[str]) -> list[str]:
        """Sort revisions as Alembic undoes them; it applies them in the reverse order.

        Alembic goes down one branch until it meets a revision that another branch follows too, then goes down
        that branch. Where a cycle stops it, the rest is left out.
        """
        parents = self.parents
        followers = Counter(chain.from_iterable(map(parents.__getitem__, keys)))
        waiting = {key: followers[key] for key in keys}  # how many that follow it are not yet undone
        branches = sorted(key for key, count in waiting.items() if not count)
        seen = set(branches)  # what is or was in `branches`
        above: dict[str, set[str]] = {}  # what follows a revision that had to wait
        needs = Counter(chain.from_iterable(self.dependencies.values()))
        shared = {need for need, count in needs.items() if count > 1}
        order: list[str] = []
        position = 0
        while branches:
            key = branches[position]
            if waiting[key]:
                if key not in above:
                    above[key] = closure([key], lambda parent: waiting.keys() & self.children[parent])
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
            below = [node for node in self._below(key, shared) if node in waiting and node not in seen]
            seen.update(below)
            branches[position : position + 1] = below[:1]
            branches += below[1:]
            if not below:
                position = max(position - 1, 0)
        return order

    def _below(self, key: str, shared: Collection[str]) -> Sequence[str]:
        """Return what a revision follows, and what it but no revision that it follows depends on."""
        follows, dependencies = self.down_revisions, self.dependencies
        if key not in dependencies:
            return follows[key]

        def is_inherited(need: str) -> bool:
            below = reachable(follows[key], follows.__getitem__)
            return need in shared and any(need in dependencies.get(other, ()) for other in below)

        own = (need for need in dependencies[key] if not is_inherited(need))
        return tuple(dict.fromkeys((*follows[key], *own)))

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The revisions that none follows by `down_revision`; the target `head`."""
        return tuple(sorted(without_followers(self.revisions, self.down_revisions)))

    @cached_property
    def effective_heads(self) -> tuple[str, ...]:
        """The heads that no revision depends on; the version table has them after a full upgrade."""
        return self.version_rows(self.revisions)

    @property
    def bases(self) -> tuple[str, ...]:
        """The revisions that follow none."""
        return self.sorted(key for key in self.revisions if not self.down_revisions[key])

    @cached_property
    def branch_points(self) -> tuple[str, ...]:
        """The revisions that several follow."""
        return self.sorted(key for key in self.revisions if len(self.successors[key]) > 1)

    def sorted(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Return the ids in order: parents before children."""
        return tuple(sorted(keys, key=self.order.__getitem__))

    def ancestors(self, keys: Iterable[str]) -> set[str]:
        """Return the revisions and all they follow or depend on: those applied where `keys` are current."""
        return closure(keys, self.parents.__getitem__)

    def applied(self, current: Iterable[str]) -> set[str]:
        """Return the ancestors, and each squashed revision whose replaced ones are all among them."""
        ancestors = self.ancestors(current)
        return self.squashes.with_recorded(ancestors) if self.squashes else ancestors

    def pending(self, current: Collection[str]) -> set[str]:
        """Return the revisions whose files an upgrade to all heads would run."""
        if set(current) == set(self.effective_heads):
            return set()
        keys = set(self.revisions) - self.applied(current)
        return keys.difference(*self.squashes.choose(keys, squashed=not current))

    def descendants(self, keys: Iterable[str]) -> set[str]:
        """Return the revisions and all that follow or depend on them."""
        return closure(keys, self.children.__getitem__)

    def version_rows(self, applied: Collection[str]) -> tuple[str, ...]:
        """Return the rows of `alembic_version` where exactly `applied` are applied."""
        return tuple(sorted(without_followers(applied, self.parents)))

    def version_rows_after_upgrade(self, rows: Collection[str], key: str) -> tuple[str, ...]:
        """Return the rows of `alembic_version` after `key`, whose parents are applied, is applied."""
        return tuple(sorted({*rows, key}.difference(self.parents[key], self.revisions[key].down_revisions)))

    def version_rows_after_downgrade(self, rows: Collection[str], key: str) -> tuple[str, ...]:
        """Return the rows of `alembic_version` after `key`, one of them, is undone."""
        parents = self.revisions[key].down_revisions if key in self.squashes.revisions else self.parents[key]
        remaining = (set(rows) - {key}).union(parents)
        if any(len(self.children[parent]) > 1 for parent in parents):
            applied = self.ancestors(remaining)
            remaining = {row for row in remaining if not applied.intersection(self.children[row])}
        return tuple(sorted(remaining))

    def branch(self, label: str) -> set[str]:
        """Return the revisions of a branch: those above the label, and those below as far as it is linear."""
        key = self.find(label)
        revisions = closure([key], self.successors.__getitem__)
        while len(down := self.down_revisions[key]) == 1 and len(self.successors[down[0]]) == 1:
            key = down[0]
            revisions.add(key)
        return revisions

    def related(self, key: str) -> set[str]:
        """Return the revision with all below and above it by `down_revision`, without dependencies."""
        return closure([key], self.down_revisions.__getitem__) | closure([key], self.successors.__getitem__)

    def head(self, label: str | None = None) -> str | None:
        """Return the head, None in an empty graph. Raises `SeveralHeads` where there are several."""
        heads = self.heads if label is None else sorted(set(self.heads) & self.branch(label))
        if len(heads) > 1:
            raise SeveralHeads(
                f"{self.database} has {len(heads)} heads: {', '.join(heads)}",
                database=self.database,
                hint=f"join them with `circle-migrate merge --database {self.database}`, "
                "or give a target (`heads` means all)",
            )
        return heads[0] if heads else None

    def find(self, name: str) -> str:
        """Return the id for an id, unique prefix or branch label. Raises `UsageError` with candidates.

        The last revision that a squashed one replaces counts as that one.
        """
        if name not in self.revisions and name in self.labels:
            return self.labels[name]
        matches = self._by_prefix(name)
        if len(matches) == 1:
            key = self.squashes.current(matches[0])
            self.squashes.ensure_file(key)
            return key
        if matches:
            raise UsageError(
                f"{name!r} fits {len(matches)} revisions of {self.database}: {', '.join(matches[:6])}",
                database=self.database,
                hint="type more of the id",
            )
        raise UsageError(
            f"{self.database} has no revision {name!r}",
            database=self.database,
            hint=suggestion(self.revisions, self.labels, name) or "see `circle-migrate history`",
        )

    def _by_prefix(self, name: str) -> list[str]:
        if name in self.revisions:
            return [name]
        return [key for key in self.revisions if name and key.startswith(name)]
