"""Squashed revisions: one file with `replaces` does at once what the replaced files do one after the other.

The graph has both in one line: what the first replaced revision follows, the replaced ones, the squashed
one, then all that follows. So a database at any of them is on the way, and a plan runs one or the other
(`choose`): a squashed revision that a plan does not run is only recorded, after the last one that it
replaces. Replaced files that were deleted stay in the graph, by the ids in `replaces`, and are `missing`.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from circle_migrate.core.errors import TreeError, UsageError
from circle_migrate.revision_graph.revision import Revision


class Choice(NamedTuple):
    """Of revisions to apply or undo: those that others make unnecessary, and those that are only recorded."""

    skipped: frozenset[str] = frozenset()
    recorded: frozenset[str] = frozenset()


class Squashes:
    """The squashed revisions of one graph.

    The constructor completes `revisions`: missing ones are added, and what follows the last replaced revision
    follows the squashed one. `squashed_by` has the squashed revision of each replaced one, `ends` that of the
    last replaced one, `missing` the replaced revisions without a file. Raises `TreeError` where `replaces` is
    not a line of revisions from what the squashed one follows.
    """

    def __init__(self, revisions: dict[str, Revision]) -> None:
        self.revisions = {key: revision for key, revision in revisions.items() if revision.replaces}
        self.squashed_by: dict[str, str] = {}
        for revision in self.revisions.values():
            for key in revision.replaces:
                if self.squashed_by.setdefault(key, revision.id) != revision.id or key == revision.id:
                    raise _error(revision, f"replaces {key}, as {self.squashed_by[key]} does")
        self.ends = {revision.replaces[-1]: key for key, revision in self.revisions.items()}
        missing = [key for key in self.squashed_by if key not in revisions]
        self.missing = frozenset(missing)
        for key, revision in revisions.items() if self.revisions else ():
            down = tuple(map(self.current, revision.down_revisions))
            if down != revision.down_revisions:
                revisions[key] = revision._replace(down_revisions=down)
        for revision in self.revisions.values():
            self._complete(revisions[revision.id], revisions)
        self._forked = self._find_forked(revisions.values())

    def __bool__(self) -> bool:
        return bool(self.revisions)

    def _around(self, key: str) -> Iterator[str]:
        """Yield the squashed revisions that replace a revision, the inner ones first."""
        while key in self.squashed_by:
            key = self.squashed_by[key]
            yield key

    def current(self, key: str) -> str:
        """Return the squashed revision as which the last one that it replaces counts; other ids unchanged."""
        while key in self.ends:
            key = self.ends[key]
        return key

    def ensure_file(self, key: str) -> None:
        """Raise `UsageError` for a target whose file is gone."""
        if key in self.missing:
            raise UsageError(
                f"{self.squashed_by[key]} replaces {key}, whose file is gone",
                hint="restore the file to use it as a target",
            )

    def is_unchanged(self, revision: Revision, checksum: str) -> bool:
        """Return whether a file has the checksum, or had it before it named a squashed revision as parent.

        Where a replaced file is deleted, there is no file to compare.
        """
        if revision.checksum == checksum or revision.id in self.missing:
            return True
        squashed = [parent for parent in revision.down_revisions if parent in self.revisions]
        if not squashed:
            return False
        text = revision.read_source()
        for parent in squashed:
            text = text.replace(parent, self.revisions[parent].replaces[-1])
        return hashlib.sha256(text.encode()).hexdigest() == checksum

    def as_parent(self, key: str) -> str:
        """Return the id to write into a file that follows a revision.

        For a squashed one it is the last replaced one while that has a file: plain Alembic knows only that.
        """
        while key in self.revisions and (last := self.revisions[key].replaces[-1]) not in self.missing:
            key = last
        return key

    @staticmethod
    def _complete(squashed: Revision, revisions: dict[str, Revision]) -> None:
        """Add the missing replaced revisions, and check the others."""
        parents = squashed.down_revisions
        for key in squashed.replaces:
            if key not in revisions:
                text = f"replaced by {squashed.id}"
                place = squashed.path, squashed.line
                revisions[key] = Revision(squashed.database, key, text, *place, down_revisions=parents)
            elif revisions[key].down_revisions != parents:
                follows, expected = (
                    ", ".join(keys) or "none" for keys in (revisions[key].down_revisions, parents)
                )
                raise _error(squashed, f"replaces {key} after {expected}, but {key} follows {follows}")
            parents = (key,)

    def _find_forked(self, revisions: Iterable[Revision]) -> frozenset[str]:
        """Return the squashed revisions for which another revision follows one inside the replaced ones."""
        forked = set()
        for revision in revisions if self.revisions else ():
            for parent in revision.down_revisions:
                key = self.squashed_by.get(parent)
                if key is None or key in self._around(revision.id):
                    continue
                if parent in self.missing:
                    text = (
                        f"revision {revision.id} follows {parent}, which {key} replaces, and its file is gone"
                    )
                    raise TreeError(
                        text,
                        database=revision.database,
                        location=revision.location,
                        hint=f"restore the replaced files, then type `circle-migrate rebase {revision.id}`",
                    )
                forked.add(key)
        return frozenset(forked)

    def unfinished(self, rows: Iterable[str]) -> str | None:
        """Return a current revision from which the files to the squashed one are gone, None without any."""
        for key in rows:
            if key in self.squashed_by and self.current(key) == key:
                replaced = self.revisions[self.squashed_by[key]].replaces
                if self.missing.intersection(replaced[replaced.index(key) :]):
                    return key
        return None

    def with_recorded(self, applied: Collection[str]) -> set[str]:
        """Return the applied revisions with each squashed one whose replaced ones are all applied."""
        result = set(applied)
        todo = dict(self.revisions)
        while done := [key for key, revision in todo.items() if result.issuperset(revision.replaces)]:
            result.update(done)
            for key in done:
                del todo[key]
        return result

    def without_alternatives(self, applied: Collection[str]) -> set[str]:
        """Return those of the revisions whose files run where an empty database gets all of them."""
        return set(applied).difference(*self.choose(applied, squashed=True))

    def choose(self, keys: Collection[str], *, squashed: bool) -> Choice:
        """Choose between the squashed and the replaced revisions among those that a plan applies or undoes.

        A squashed revision runs if none of its replaced ones stays applied, `squashed` allows it or a file is
        missing, and no other revision follows one inside.
        """
        skipped: set[str] = set()
        recorded: set[str] = set()
        for key, revision in self.revisions.items():
            replaced = set(revision.replaces)
            if key not in keys:
                continue
            is_possible = replaced.issubset(keys) and key not in self._forked
            if is_possible and (squashed or replaced & self.missing):
                skipped |= replaced
            else:
                recorded.add(key)
        return Choice(frozenset(skipped), frozenset(recorded - skipped))


def _error(squashed: Revision, problem: str) -> TreeError:
    return TreeError(
        f"revision {squashed.id} {problem}",
        database=squashed.database,
        location=squashed.location,
        hint="correct `replaces`: the ids of the replaced revisions, each followed by the next one",
    )
