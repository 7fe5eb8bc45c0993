"""What has to be done to which object: from two catalogues to verbs, before any SQL is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from circle_migrate.diff.ddl.attributes import initial
from circle_migrate.diff.ddl.casts import comparable, using
from circle_migrate.diff.ddl.column import recreated, table_of
from circle_migrate.diff.ddl.dependencies import RELATIONS, ROUTINES, Catalog
from circle_migrate.diff.ddl.identity import with_born_privileges
from circle_migrate.diff.ddl.kind import ObjectChange
from circle_migrate.diff.ddl.kinds import KINDS, RANKS, RENAMED_FIRST
from circle_migrate.diff.ddl.statement import Verb
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.revision_graph.traversal import topological

Node = tuple[Verb, ObjectKey]

# What PostgreSQL carries over itself when a column it uses changes its type.
_CARRIED_OVER = {"index", "constraint", "statistics"}
# What is done to a table or a column says which columns it has; it does not depend on them.
_HOLDERS = {"table", "foreign table", "sequence", "publication", "setting"}


_RELEASED = frozenset({"default", "owned_by", "identity", "identity_sequence"})
_NOTHING: frozenset[str] = frozenset()

# What is done to new and to changed objects mixes: their kinds decide.
_PHASES = {verb: 3 if verb in {Verb.CREATE, Verb.ALTER, Verb.ATTACH} else int(verb) for verb in Verb}


class ChangePlan:
    """The objects to drop, make, replace, rename and alter, and in which order.

    An object is replaced (dropped and made again) where it cannot be altered, or where it needs something
    that is replaced. A type that columns have is renamed, made anew and dropped when no column has it.
    """

    def __init__(self, before: Catalog, after: Catalog, major: int) -> None:
        self.before = before
        self.after = after
        self.major = major
        self.dropped = before.objects.keys() - after.objects.keys()
        self.created = after.objects.keys() - before.objects.keys()
        self.common = before.objects.keys() & after.objects.keys()
        self.altered = {key for key in self.common if before.objects[key] != after.objects[key]}
        self.replaced: set[ObjectKey] = set()
        self.renamed: set[ObjectKey] = set()
        self.retyped: set[ObjectKey] = set()
        self.released: set[ObjectKey] = set()
        self._decide()

    def step(self, key: ObjectKey) -> ObjectChange:
        """The object's way: of a new or replaced one, from what its CREATE gives it."""
        after = self.after.objects[key]
        if self.is_created(key):
            before = initial(KINDS[key.kind], key, self.after)
        else:
            left = _RELEASED if key in self.released else _NOTHING
            if "identity" in after:
                left -= {"identity", "identity_sequence"}
            before = {name: value for name, value in self.before.objects[key].items() if name not in left}
        converted = key in self.retyped and self._converted(key)
        step = ObjectChange(key, before, after, self.after, self.major, self.before, converted)
        return with_born_privileges(step, new=self.is_created(key)) if key.kind == "column" else step

    def drop_change(self, key: ObjectKey) -> ObjectChange:
        """The way of an object that goes."""
        return ObjectChange(key, self.before.objects[key], {}, self.after, self.major, self.before)

    def full_change(self, key: ObjectKey) -> ObjectChange:
        """The way of an object that stays, without regard to what else is done to it."""
        one, other = self.before.objects[key], self.after.objects[key]
        return ObjectChange(key, one, other, self.after, self.major, self.before)

    def is_created(self, key: ObjectKey) -> bool:
        """Whether the object is created, for the first time or again."""
        return key in self.created or key in self.replaced or key in self.renamed

    def is_dropped(self, key: ObjectKey) -> bool:
        """Whether the object goes, to come back or not."""
        return key in self.dropped or key in self.replaced

    def dropped_with_owner(self, key: ObjectKey) -> bool:
        """Whether the object goes by itself when what it is part of goes."""
        fields = self.before.objects[key]
        if key.kind == "sequence":
            column = ObjectKey("column", fields.get("owned_by") or "")
            return bool(column.identity) and (
                self.is_dropped(column) or self.is_dropped(ObjectKey("table", table_of(column)))
            )
        owner = self.before.owner_of(key)
        tables = {needed for needed in self.before.needs(key) if needed.kind == "table"}
        if fields.get("type") == "foreign key" and any(self.is_dropped(table) for table in tables - {owner}):
            return False
        return owner is not None and self.is_dropped(owner)

    def nodes(self) -> list[Node]:
        """Everything to do, in order."""
        found = [(Verb.DROP, key) for key in self.dropped | self.replaced if not self.dropped_with_owner(key)]
        found += [(Verb.CREATE, key) for key in self.created | self.replaced | self.renamed]
        found += [(Verb.ALTER, key) for key in self.altered | self.retyped if not self.is_created(key)]
        found += [(Verb.DETACH, key) for key in self.released]
        found += [(verb, key) for key in self.renamed for verb in (Verb.RENAME, Verb.DROP_OLD)]
        found += [(Verb.ATTACH, key) for key in self.after.objects if self._attached(key)]
        return topological(found, self._earlier(found), self._rank, cut_cycles=True)

    def _attached(self, key: ObjectKey) -> bool:
        """Whether a sequence has to be given to its column."""
        owner = self.after.value(key, "owned_by")
        if not owner or key.kind != "sequence":
            return False
        return self.is_created(key) or key in self.released or owner != self.before.value(key, "owned_by")

    def _decide(self) -> None:
        pending: list[ObjectKey] = list(self.dropped)
        for key in sorted(self.altered):
            self._classify(key, pending)
        seen: set[ObjectKey] = set()
        while pending:
            key = pending.pop()
            if key in seen:
                continue
            seen.add(key)
            for user in sorted(self.before.needed_by.get(key, ())):
                self._invalidate(user, key, pending)
        self._detach_sequences()

    def _classify(self, key: ObjectKey, pending: list[ObjectKey]) -> None:
        """Whether an object that differs is altered, replaced or renamed away."""
        step = self.full_change(key)
        if key.kind == "column":
            if recreated(step):
                self._replace(key, pending)
                return
            if step.differs("type", "collation"):
                self._retype(key, pending)
            if step.before.get("identity") and not step.after.get("identity"):
                self.released.add(key)
        elif KINDS[key.kind].replaces(step):
            if key.kind in RENAMED_FIRST and any(self._columns_of_type(key)):
                self.renamed.add(key)
                pending.append(key)
            else:
                self._replace(key, pending)

    def _columns_of_type(self, key: ObjectKey) -> Iterator[ObjectKey]:
        return (
            object_key for object_key in self.before.needed_by.get(key, ()) if object_key.kind == "column"
        )

    def _replace(self, key: ObjectKey, pending: list[ObjectKey]) -> None:
        if key in self.common and key not in self.replaced:
            self.replaced.add(key)
            pending.append(key)
            for part in self.before.all_parts(key):
                self._replace(part, pending)

    def _retype(self, key: ObjectKey, pending: list[ObjectKey]) -> None:
        self.retyped.add(key)
        if self.before.value(key, "default"):
            self.released.add(key)
        pending.append(key)

    def _invalidate(self, user: ObjectKey, needed: ObjectKey, pending: list[ObjectKey]) -> None:
        """What becomes of an object when one that it needs goes, is renamed or changes its type."""
        if user not in self.common or user in self.replaced:
            return
        if user.kind == "column":
            self._invalidate_column(user, needed, pending)
        elif user.kind in {"table", "foreign table"}:
            if self.is_dropped(needed) and needed.kind in {"table", "foreign table", "foreign server"}:
                self._replace(user, pending)
        elif user.kind not in _HOLDERS and needed.kind != "schema" and not self._carried_over(user, needed):
            self._replace(user, pending)

    def _invalidate_column(self, user: ObjectKey, needed: ObjectKey, pending: list[ObjectKey]) -> None:
        fields = self.before.objects[user]
        if fields.get("generated"):
            if needed.kind not in RELATIONS:
                self._replace(user, pending)
        elif needed in self.renamed:
            self._retype(user, pending)
        elif fields.get("default") and (needed.kind in ROUTINES or needed.kind == "sequence"):
            self.released.add(user)
            self.altered.add(user)

    def _converted(self, column: ObjectKey) -> bool:
        """Whether the column's type is another one of the same name."""
        return self.before.value(column, "type") == self.after.value(column, "type") and any(
            needed in self.renamed for needed in self.before.needs(column)
        )

    def _carried_over(self, user: ObjectKey, column: ObjectKey) -> bool:
        """Whether PostgreSQL rebuilds what is built on a column itself when that changes its type."""
        if user.kind not in _CARRIED_OVER or column not in self.retyped or self._converted(column):
            return False
        one, other = self.before.value(column, "type") or "", self.after.value(column, "type") or ""
        if self.before.value(user, "type") == "foreign key":
            return comparable(one, other)
        return not using("", one, other)

    def _detach_sequences(self) -> None:
        """Sequences that stay have to be taken from columns that go, or that are not to own them."""
        for key in self.common - self.replaced:
            owner = self.before.value(key, "owned_by") if key.kind == "sequence" else None
            if not owner:
                continue
            column = ObjectKey("column", owner)
            if self.is_dropped(column) or owner != self.after.value(key, "owned_by"):
                self.released.add(key)

    def _earlier(self, nodes: Iterable[Node]) -> dict[Node, set[Node]]:
        """For each node those that come before it, from what the objects need on either side."""
        found: dict[Node, set[Node]] = {}
        by_key: dict[ObjectKey, list[Node]] = {}
        for node in nodes:
            by_key.setdefault(node[1], []).append(node)
        for verb, key in nodes:
            earlier = found.setdefault((verb, key), set())
            earlier.update(node for node in by_key[key] if node[0] < verb)
            if verb in {Verb.DETACH, Verb.DROP, Verb.ALTER} and key in self.before:
                for needed in self.before.needs(key):
                    for node in by_key.get(needed, ()):
                        if _waits(node[0], verb, still=self._still_needs(key, needed)):
                            found.setdefault(node, set()).add((verb, key))
            if verb in {Verb.CREATE, Verb.ALTER, Verb.ATTACH} and key in self.after:
                owned_by = self.after.value(key, "owned_by") if verb is Verb.ATTACH else None
                for needed in (
                    *self.after.needs(key),
                    *([ObjectKey("column", owned_by)] if owned_by else []),
                ):
                    earlier.update(
                        node for node in by_key.get(needed, ()) if node[0] in {Verb.CREATE, Verb.ALTER}
                    )
        return {node: earlier - {node} for node, earlier in found.items()}

    def _rank(self, node: Node) -> tuple[int, int, int, ObjectKey]:
        """Drops from the dependants down, creations from the foundations up, columns by position."""
        verb, key = node
        backwards = verb in {Verb.DETACH, Verb.DROP, Verb.DROP_OLD}
        position = int(self.after.value(key, "position") or 0)
        # What new objects are born with: changed when they are.
        phase = _PHASES[Verb.DROP_OLD if key.kind == "default privileges" else verb]
        return phase, -RANKS[key.kind] if backwards else RANKS[key.kind], position, key

    def _still_needs(self, key: ObjectKey, needed: ObjectKey) -> bool:
        """Whether an object needs another one until that is dropped; a default is released before."""
        if key in self.released and (needed.kind == "sequence" or needed.kind in ROUTINES):
            return True
        return key in self.after and needed in self.after.needs(key)


def _waits(verb: Verb, user: Verb, *, still: bool) -> bool:
    """Whether what is done to a needed object waits for what is done to an object that needed it."""
    if user in {Verb.DETACH, Verb.DROP}:
        return verb in {Verb.DROP, Verb.RENAME, Verb.ALTER}
    return verb is Verb.DROP_OLD or (verb is Verb.DROP and not still)
