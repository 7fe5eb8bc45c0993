"""Revisions and the graph they form: heads, ancestors, descendants, names people type for them.

The graph is built from values only, so that asking "is anything pending?" needs neither Alembic nor the
revision modules. Its answers are the same as those of `alembic.script.revision.RevisionMap`; a property
test compares the two on random trees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from circle_migrate.core.errors import SeveralHeads, TreeError, UsageError
from circle_migrate.revision_graph.revision import MAX_ID_LENGTH, Revision, files_digest
from circle_migrate.revision_graph.traversal import Edges, closure, topological, without_successors


class Graph:
    """All revisions of one database. Raises `TreeError` at construction where they do not form a tree."""

    def __init__(self, database: str, revisions: Iterable[Revision]) -> None:
        self.database = database
        found: dict[str, Revision] = {}
        for revision in revisions:
            self._add(revision, found)
        self.revisions: Mapping[str, Revision] = found
        _ = self.order  # finds everything that keeps them from being a tree

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """The revision of each branch label."""
        return self._collect_labels()

    @cached_property
    def parents(self) -> Edges:
        """What each revision follows or depends on."""
        labels = self.labels
        return {revision.id: self._find_parents(revision, labels) for revision in self.revisions.values()}

    @cached_property
    def down_revisions(self) -> Edges:
        """What each revision follows by `down_revision`."""
        return {revision.id: revision.down_revisions for revision in self.revisions.values()}

    @cached_property
    def requires(self) -> Edges:
        """What revisions require of other databases; those that require nothing are left out."""
        return {revision.id: revision.requires for revision in self.revisions.values() if revision.requires}

    @cached_property
    def order(self) -> Mapping[str, int]:
        """The place of each revision: after its parents, otherwise in the order given (file names)."""
        return self._sort()

    @cached_property
    def without_downgrade(self) -> tuple[str, ...]:
        """Revisions that have no `downgrade()` and do not say why."""
        return tuple(
            revision.id
            for revision in self.revisions.values()
            if not revision.has_downgrade and revision.irreversible is None
        )

    @cached_property
    def digest(self) -> str:
        """What `files_digest` makes of all revisions."""
        return files_digest((revision.id, revision.checksum) for revision in self.revisions.values())

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """What follows or depends on each revision."""
        return self._reversed(self.parents)

    @cached_property
    def successors(self) -> dict[str, list[str]]:
        """What follows each revision by `down_revision`."""
        return self._reversed(self.down_revisions)

    def _reversed(self, links: Edges) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {key: [] for key in self.revisions}
        for key, others in links.items():
            for other in others:
                found[other].append(key)
        return found

    def __len__(self) -> int:
        return len(self.revisions)

    def __contains__(self, key: str) -> bool:
        return key in self.revisions

    def __getitem__(self, key: str) -> Revision:
        return self.revisions[key]

    def _add(self, revision: Revision, found: dict[str, Revision]) -> None:
        other = found.get(revision.id)
        if other is not None:
            raise TreeError(
                f"revision {revision.id} exists twice: in {other.location} and in {revision.location}",
                database=self.database,
                location=revision.location,
                hint="give one of the two files another `revision` id",
            )
        if len(revision.id) > MAX_ID_LENGTH:
            raise TreeError(
                f"revision id {revision.id!r} has {len(revision.id)} characters; "
                f"alembic_version holds {MAX_ID_LENGTH}",
                database=self.database,
                location=revision.location,
                hint="shorten `revision` in that file and every `down_revision` that names it",
            )
        found[revision.id] = revision

    def _collect_labels(self) -> dict[str, str]:
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
                        hint="a branch label names one branch; remove it from one of the files",
                    )
                labels[label] = revision.id
        return labels

    def _find_parents(self, revision: Revision, labels: Mapping[str, str]) -> tuple[str, ...]:
        parents = list(revision.down_revisions)
        for name in revision.depends_on:
            found = labels.get(name) or self._by_prefix(name)
            parents.append(found if isinstance(found, str) else name)
        for parent in parents:
            if parent not in self.revisions:
                raise TreeError(
                    f"revision {revision.id} follows {parent}, and there is no file with that revision",
                    database=self.database,
                    location=revision.location,
                    hint=self._nearest(parent, but=revision.id)
                    or "restore the missing file or correct `down_revision`",
                )
        return tuple(dict.fromkeys(parents))

    def _sort(self) -> dict[str, int]:
        position = {key: index for index, key in enumerate(self.revisions)}
        order = topological(self.revisions, self.parents, lambda key: position[key])
        if len(order) < len(self.revisions):
            circle = [self.revisions[key] for key in self.revisions if key not in set(order)]
            raise TreeError(
                "revisions follow each other in a circle: " + ", ".join(r.id for r in circle),
                database=self.database,
                location=circle[0].location,
                hint="correct `down_revision` or `depends_on` in "
                + ", ".join(sorted({r.location for r in circle})),
            )
        return {key: index for index, key in enumerate(order)}

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """Revisions no other one follows by `down_revision`, in tree order; what `head` means."""
        return self.sorted(without_successors(self.revisions, self.down_revisions))

    @cached_property
    def effective_heads(self) -> tuple[str, ...]:
        """Heads that no other revision depends on either; what the version table holds at the end."""
        return self.version_rows(self.revisions)

    @property
    def bases(self) -> tuple[str, ...]:
        """Revisions that follow none."""
        return self.sorted(key for key in self.revisions if not self.down_revisions[key])

    @cached_property
    def branch_points(self) -> tuple[str, ...]:
        """Revisions that more than one follows."""
        return self.sorted(key for key in self.revisions if len(self.successors[key]) > 1)

    def sorted(self, keys: Iterable[str]) -> tuple[str, ...]:
        """The ids in tree order: parents before children."""
        return tuple(sorted(keys, key=self.order.__getitem__))

    def ancestors(self, keys: Iterable[str]) -> set[str]:
        """The revisions and everything they follow or depend on; what is applied where `keys` are current."""
        return closure(keys, self.parents.__getitem__)

    def pending(self, current: Collection[str]) -> set[str]:
        """The revisions that are not applied where `current` are current."""
        if set(current) == set(self.effective_heads):
            return set()
        return set(self.revisions) - self.ancestors(current)

    def down_ancestors(self, key: str) -> set[str]:
        """The revision and what it follows by `down_revision` alone, dependencies left out."""
        return closure([key], self.down_revisions.__getitem__)

    def descendants(self, keys: Iterable[str]) -> set[str]:
        """The revisions and everything that follows or depends on them."""
        return closure(keys, self.children.__getitem__)

    def version_rows(self, applied: Collection[str]) -> tuple[str, ...]:
        """What `alembic_version` holds where exactly `applied` are applied."""
        return self.sorted(without_successors(applied, self.parents))

    def version_rows_after_upgrade(self, tips: Collection[str], key: str) -> tuple[str, ...]:
        """The tips once `key`, whose parents are applied, is applied too."""
        return self.sorted({*tips, key}.difference(self.parents[key]))

    def version_rows_after_downgrade(self, tips: Collection[str], key: str) -> tuple[str, ...]:
        """The tips once `key`, one of them, is undone."""
        left = (set(tips) - {key}).union(self.parents[key])
        if any(len(self.children[parent]) > 1 for parent in self.parents[key]):
            applied = self.ancestors(left)
            left = {each for each in left if not applied.intersection(self.children[each])}
        return self.sorted(left)

    def branch(self, label: str) -> set[str]:
        """The revisions of a labelled branch: up from the label, and down to where the branch begins."""
        start = self.labels[label]
        members = closure([start], self.successors.__getitem__)
        key = start
        while len(down := self.down_revisions[key]) == 1 and len(self.successors[down[0]]) == 1:
            key = down[0]
            members.add(key)
        return members

    def related(self, key: str) -> set[str]:
        """The revision with everything below and above it."""
        return self.ancestors([key]) | self.descendants([key])

    def head(self, label: str | None = None) -> str | None:
        """The one head, None in an empty tree. Raises `SeveralHeads` where there are more."""
        heads = self.heads if label is None else self.sorted(set(self.heads) & self.branch(label))
        if len(heads) > 1:
            raise SeveralHeads(
                f"{self.database} has {len(heads)} heads: {', '.join(heads)}",
                database=self.database,
                hint=f"join them with `circle-migrate merge --database {self.database}`, "
                "or name the target (`heads` takes all)",
            )
        return heads[0] if heads else None

    def find(self, name: str) -> str:
        """The id a full id, unique prefix or branch label stands for. Raises `UsageError` with candidates."""
        if name in self.revisions:
            return name
        if name in self.labels:
            return self.labels[name]
        match = self._by_prefix(name)
        if isinstance(match, str):
            return match
        if match:
            raise UsageError(
                f"{name!r} fits {len(match)} revisions of {self.database}: {', '.join(match[:6])}",
                database=self.database,
                hint="type more of the id",
            )
        raise UsageError(
            f"{self.database} has no revision {name!r}",
            database=self.database,
            hint=self._nearest(name) or "see `circle-migrate history`",
        )

    def _by_prefix(self, name: str) -> str | list[str]:
        if name in self.revisions:
            return name
        match = [key for key in self.revisions if name and key.startswith(name)]
        return match[0] if len(match) == 1 else match

    def _nearest(self, name: str, but: str | None = None) -> str | None:
        import difflib

        names = [key for key in (*self.revisions, *self.labels) if key != but]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        words = [r.id for r in self.revisions.values() if name.lower() in r.message.lower()][:3]
        if not near and not words:
            return None
        shown = (
            f"{key} ({self.revisions[key].message})" if key in self.revisions else key
            for key in near or words
        )
        return "did you mean " + ", ".join(shown) + "?"
