"""Plan the operations on the objects of two catalogs, and their order."""

from collections.abc import Iterable
from dataclasses import replace

from circle_migrate.diff.ddl.attributes import initial_fields
from circle_migrate.diff.ddl.column import (
    are_comparable,
    needs_replacement,
    table_of,
    using_clause,
    with_initial_privileges,
)
from circle_migrate.diff.ddl.dependencies import RELATIONS, ROUTINES, Catalog
from circle_migrate.diff.ddl.kind import ObjectChange
from circle_migrate.diff.ddl.kinds import KINDS, RANKS, RENAMED_FIRST
from circle_migrate.diff.ddl.statement import Verb
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.revision_graph.traversal import topological

Node = tuple[Verb, ObjectKey]

_REBUILT_BY_SERVER = {"index", "constraint", "statistics"}
"""Kinds that PostgreSQL rebuilds after a change of a column's type."""

_INDEPENDENT = {"table", "foreign table", "sequence", "setting"}
"""Kinds that need not be replaced together with an object they need."""

_DETACHED = frozenset({"default", "owned_by", "identity", "identity_sequence"})
"""Fields that DETACH removes."""

_RECURSIVE = ("type", "collation", "default", "not_null", "generated", "storage", "statistics")
"""Fields that ALTER TABLE also sets in partitions and child tables."""

# Creations and alterations are ordered by kind, not by verb.
_PHASES = {verb: 3 if verb in {Verb.CREATE, Verb.ALTER, Verb.ATTACH} else int(verb) for verb in Verb}


class ChangePlan:
    """The objects to drop, create, replace, rename and alter, and the order of operations.

    An object is replaced (dropped and created again) if it cannot be altered, or if it needs an object that
    is replaced. A type of columns is renamed instead, created, and the old type is dropped at the end.
    `retyped` are columns whose type changes, `detached` objects that first lose a default, identity or owner.
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
        self.detached: set[ObjectKey] = set()
        self._decide()

    def change(self, key: ObjectKey) -> ObjectChange:
        """Return the change of an object; a new or replaced one starts from its state after CREATE."""
        after = self.after.objects[key]
        created = self.is_created(key)
        if created:
            before = initial_fields(KINDS[key.kind], key, self.after)
        else:
            removed = _DETACHED if key in self.detached else frozenset()
            if "identity" in after:
                removed -= {"identity", "identity_sequence"}
            fields = self.before.objects[key].items()
            before = {name: value for name, value in fields if name not in removed}
        set_by_parents = self._set_by_parents(key)
        before = {**before, **set_by_parents}
        converted = key in self.retyped and "type" not in set_by_parents and self._is_converted(key)
        change = ObjectChange(key, before, after, self.after, self.major, self.before, converted)
        return with_initial_privileges(change, new=created) if key.kind == "column" else change

    def _set_by_parents(self, key: ObjectKey) -> dict[str, str | None]:
        """Return the fields that a column gets from the CREATE or ALTER of its parents' columns."""
        fields: dict[str, str | None] = {}
        owner = self.after.owner_of(key)
        for parent in self.after.parent_columns(key) if key.kind == "column" else ():
            if owner is not None and self.is_created(owner):
                local = self.after.value(key, "local")
                if not local:
                    fields |= {"identity": None, "not_null": self.after.value(parent, "not_null")}
                if not local or not self.after.value(key, "default"):
                    fields["default"] = self.after.value(parent, "default")
            elif parent in self.before.parent_columns(key):
                change = self.change(parent)
                fields |= self._set_by_parents(parent)
                fields |= {name: change.after.get(name) for name in _RECURSIVE if change.differs(name)}
        return fields

    def drop_change(self, key: ObjectKey) -> ObjectChange:
        """Return the change of an object that is dropped."""
        return ObjectChange(key, self.before.objects[key], {}, self.after, self.major, self.before)

    def full_change(self, key: ObjectKey) -> ObjectChange:
        """Return the change of an object between both catalogs, without other operations on it."""
        return replace(self.drop_change(key), after=self.after.objects[key])

    def is_created(self, key: ObjectKey) -> bool:
        """Return whether the object is created, for the first time or again."""
        return key in self.created or key in self.replaced or key in self.renamed

    def is_dropped(self, key: ObjectKey) -> bool:
        """Return whether the object is dropped, finally or to be created again."""
        return key in self.dropped or key in self.replaced

    def _dropped_with_owner(self, key: ObjectKey) -> bool:
        fields = self.before.objects[key]
        if key.kind == "sequence":
            column = ObjectKey("column", fields.get("owned_by") or "")
            table = ObjectKey("table", table_of(column))
            return bool(column.identity) and (self.is_dropped(column) or self.is_dropped(table))
        owner = self.before.owner_of(key)
        tables = {needed for needed in self.before.needs(key) if needed.kind == "table"}
        if fields.get("type") == "foreign key" and any(self.is_dropped(table) for table in tables - {owner}):
            return False
        return owner is not None and key.kind != "user mapping" and self.is_dropped(owner)

    def nodes(self) -> list[Node]:
        """Return all operations, in order."""
        dropped = self.dropped | self.replaced
        nodes = [(Verb.DROP, key) for key in dropped if not self._dropped_with_owner(key)]
        nodes += [(Verb.CREATE, key) for key in self.created | self.replaced | self.renamed]
        altered = self.altered | self.retyped | self._overwritten()
        nodes += [(Verb.ALTER, key) for key in altered if not self.is_created(key)]
        nodes += [(Verb.DETACH, key) for key in self.detached]
        nodes += [(verb, key) for key in self.renamed for verb in (Verb.RENAME, Verb.DROP_OLD)]
        nodes += [(Verb.ATTACH, key) for key in self.after.objects if self._is_attached(key)]
        return topological(nodes, self._predecessors(nodes), self._rank, cut_cycles=True)

    def _overwritten(self) -> set[ObjectKey]:
        """Return the columns with values of their own, which a change of the parent's column overwrites."""
        return {
            key
            for key in self.common
            if any(self.after.value(key, name) != value for name, value in self._set_by_parents(key).items())
        }

    def _is_attached(self, key: ObjectKey) -> bool:
        """Return whether the ownership of a sequence must be set."""
        owner = self.after.value(key, "owned_by") if key.kind == "sequence" else None
        moves = key in self.detached or owner != self.before.value(key, "owned_by")
        return bool(owner) and (self.is_created(key) or moves)

    def _decide(self) -> None:
        pending: list[ObjectKey] = list(self.dropped)
        for key in sorted(self.altered):
            self._classify(key, pending)
        while pending:
            key = pending.pop()
            for user in sorted(self.before.needed_by.get(key, ())):
                self._invalidate(user, key, pending)
        # Sequences that stay lose columns that are dropped or no longer own them.
        for key in self.common - self.replaced:
            owner = self.before.value(key, "owned_by") if key.kind == "sequence" else None
            stays = owner == self.after.value(key, "owned_by")
            if owner and (not stays or self.is_dropped(ObjectKey("column", owner))):
                self.detached.add(key)

    def _classify(self, key: ObjectKey, pending: list[ObjectKey]) -> None:
        """Decide whether an object that differs is altered, replaced or renamed."""
        change = self.full_change(key)
        if key.kind == "column":
            if needs_replacement(change):
                self._replace(key, pending)
                return
            if change.differs("type", "collation"):
                self._retype(key, pending)
            if change.before.get("identity") and not change.after.get("identity"):
                self.detached.add(key)
        elif KINDS[key.kind].replaces(change) or self._is_remade(key):
            self._replace(key, pending)

    def _is_remade(self, key: ObjectKey) -> bool:
        """Return whether a partition gets or loses the object by a command on the partitioned table.

        Triggers are copied and dropped by ATTACH and DETACH, too; an index stays.
        """
        table = self.before.owner_of(key)
        inherits = self.full_change(key).differs("inherited")
        if key.kind != "index" or table is None or not inherits:
            return key.kind == "trigger" and inherits
        parents = [catalog.value(table, "partition_of") for catalog in (self.before, self.after)]
        indexes = self.before.parts_of(ObjectKey("table", parents[0] or ""), "index")
        return parents[0] == parents[1] and any(map(self.is_dropped, indexes))

    def _replace(self, key: ObjectKey, pending: list[ObjectKey]) -> None:
        if key not in self.common or key in self.replaced | self.renamed:
            return
        pending.append(key)
        users = {user.kind for user in self.before.needed_by.get(key, ())}
        if key.kind in RENAMED_FIRST and users & (RENAMED_FIRST | {"column"}):
            self.renamed.add(key)
        else:
            self.replaced.add(key)
            self.retyped.discard(key)
            for part in self.before.all_parts(key):
                self._replace(part, pending)

    def _retype(self, key: ObjectKey, pending: list[ObjectKey]) -> None:
        self.retyped.add(key)
        if self.before.value(key, "default"):
            self.detached.add(key)
        pending.append(key)

    def _invalidate(self, user: ObjectKey, needed: ObjectKey, pending: list[ObjectKey]) -> None:
        """Decide what happens to an object whose needed object is dropped, renamed or retyped."""
        if user not in self.common or user in self.replaced:
            return
        overloads = self.before.overloads_of(needed) if needed in self.dropped else set()
        if user not in self.altered and not self.common.isdisjoint(overloads):
            return  # the same text now means another routine, so it did before
        if user.kind == "column":
            self._invalidate_column(user, needed, pending)
        elif user.kind in {"table", "foreign table"}:
            parent = needed.kind in {"table", "foreign table", "foreign server"}
            if parent and self.is_dropped(needed) and needed in self.after.needs(user):
                self._replace(user, pending)
        elif user.kind == "publication" and needed not in self.retyped:
            return
        elif user.kind not in _INDEPENDENT and needed.kind != "schema" and not self._is_rebuilt(user, needed):
            self._replace(user, pending)

    def _invalidate_column(self, user: ObjectKey, needed: ObjectKey, pending: list[ObjectKey]) -> None:
        fields = self.before.objects[user]
        if fields.get("generated"):
            if needed.kind not in RELATIONS:
                self._replace(user, pending)
        elif needed in self.renamed and user not in self.retyped:
            self._retype(user, pending)
        elif fields.get("default") and (needed.kind in ROUTINES or needed.kind == "sequence"):
            self.detached.add(user)
            self.altered.add(user)

    def _is_converted(self, column: ObjectKey) -> bool:
        """Return whether the column's type is replaced by another type of the same name."""
        return self.before.value(column, "type") == self.after.value(column, "type") and any(
            needed in self.renamed for needed in self.before.needs(column)
        )

    def _is_rebuilt(self, user: ObjectKey, column: ObjectKey) -> bool:
        """Return whether PostgreSQL rebuilds an object when the type of a column changes."""
        if user.kind not in _REBUILT_BY_SERVER or column not in self.retyped or self._is_converted(column):
            return False
        before, after = self.before.value(column, "type") or "", self.after.value(column, "type") or ""
        if self.before.value(user, "type") == "foreign key":
            return are_comparable(before, after)
        return not using_clause("", before, after)

    def _predecessors(self, nodes: Iterable[Node]) -> dict[Node, set[Node]]:
        """Return the predecessors of each operation, from what the objects need on both sides."""
        predecessors: dict[Node, set[Node]] = {}
        by_key: dict[ObjectKey, list[Node]] = {}
        for node in nodes:
            by_key.setdefault(node[1], []).append(node)
        for verb, key in nodes:
            earlier = predecessors.setdefault((verb, key), set())
            earlier.update(node for node in by_key[key] if node[0] < verb)
            if verb in {Verb.DETACH, Verb.DROP, Verb.ALTER, Verb.DROP_OLD} and key in self.before:
                parts = self.before.all_parts(key) if verb is Verb.DROP else ()
                for needed in self.before.needs(key).union(*map(self.before.needs, parts)):
                    for node in by_key.get(needed, ()):
                        if _waits(node[0], verb, still_needed=self._still_needs(key, needed)):
                            predecessors.setdefault(node, set()).add((verb, key))
            if verb in {Verb.CREATE, Verb.ALTER, Verb.ATTACH} and key in self.after:
                needs = self.after.needs(key) | self._retyped_first(key)
                owner = self.after.owner_of(key)
                if owner is not None and key in self._retyped_first(owner):
                    needs -= {owner}
                later = self._created_after(key) if verb is Verb.CREATE else set()
                for parent in later:
                    predecessors.setdefault((Verb.CREATE, parent), set()).add((verb, key))
                needs |= {*self.after.parent_columns(key)} - later
                if verb is Verb.ATTACH:
                    needs |= {ObjectKey("column", self.after.value(key, "owned_by") or "")}
                needed_nodes = (node for needed in needs for node in by_key.get(needed, ()))
                earlier.update(node for node in needed_nodes if node[0] in {Verb.CREATE, Verb.ALTER})
        return {node: earlier - {node} for node, earlier in predecessors.items()}

    def _created_after(self, key: ObjectKey) -> set[ObjectKey]:
        """Return the parts of a parent that accept those that a child has, not the reverse."""
        if key.kind in {"index", "constraint"}:
            return self.after.merged_into(key)
        return set(self.after.parent_columns(key)) if self.after.value(key, "local") else set()

    def _retyped_first(self, table: ObjectKey) -> set[ObjectKey]:
        """Return the columns whose types change before a table becomes a partition or child."""
        had, has = (
            catalog.value(table, "partition_of") or catalog.value(table, "inherits")
            for catalog in (self.before, self.after)
        )
        columns = self.after.parts_of(table, "column") if has and not had else []
        return self.retyped & {*columns}.union(*map(self.after.parent_columns, columns))

    def _rank(self, node: Node) -> tuple[int, int, int, ObjectKey]:
        """Drop dependent objects first, create needed objects first, columns by position."""
        verb, key = node
        backwards = verb in {Verb.DETACH, Verb.DROP, Verb.DROP_OLD}
        position = int(self.after.value(key, "position") or 0)
        # Default privileges apply to new objects, so they change after all creations.
        phase = _PHASES[Verb.DROP_OLD if key.kind == "default privileges" else verb]
        return phase, -RANKS[key.kind] if backwards else RANKS[key.kind], position, key

    def _still_needs(self, key: ObjectKey, needed: ObjectKey) -> bool:
        """Return whether an object needs another one until that is dropped."""
        if key in self.detached and (needed.kind == "sequence" or needed.kind in ROUTINES):
            return True
        return key in self.after and needed in self.after.needs(key)


def _waits(verb: Verb, user: Verb, *, still_needed: bool) -> bool:
    """Return whether an operation on a needed object waits for the one on its user."""
    if user in {Verb.DETACH, Verb.DROP}:
        return verb in {Verb.DROP, Verb.RENAME, Verb.ALTER}
    return verb is Verb.DROP_OLD or (verb is Verb.DROP and not still_needed)
