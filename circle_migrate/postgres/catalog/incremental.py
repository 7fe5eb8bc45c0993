"""Read again only the objects of relations whose catalog rows have changed.

A signature of each relation changes with the versions of its rows. An object is printed from the rows of its
relation and with names of others: so everything is read again where another name or an object without a
relation has changed, and where rare catalogs are used.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from circle_migrate.postgres.catalog import queries
from circle_migrate.postgres.catalog.read import Fetch, SnapshotBuilder, scope_arguments
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey, Snapshot

_OTHERS = 0
"""The id with the signature of all rows that are of no relation."""


@dataclass(frozen=True, slots=True)
class Signatures:
    """By the id of the relation: its name, which is None if it is not part of snapshots, and its signatures.

    `ids` changes if an object gets another id. `used` are the catalogs with rows that can restrict a query.
    `role` is the current one, which is written as `<owner>` without a version table.
    """

    names: Mapping[int, str | None]
    versions: Mapping[int, int]
    ids: Mapping[int, str]
    used: frozenset[str]
    role: str

    @classmethod
    def of(cls, row: Any) -> "Signatures":
        """Return the signatures in the row of the query."""
        names, versions, ids = (
            dict(zip(row["relations"], row[name], strict=True)) for name in ("names", "versions", "ids")
        )
        return cls(names, versions, ids, frozenset(row["used"]), row["role"])

    def after(self, read: Mapping[str, Any]) -> "Signatures":
        """Return the signatures after the changes that the query for changed relations has read."""
        names, versions, ids = dict(self.names), dict(self.versions), dict(self.ids)
        for relation, version, id_signature, name in read["moved"] or ():
            if version is None:  # it was dropped
                del names[relation], versions[relation], ids[relation]
            else:
                names[relation], versions[relation], ids[relation] = name, version, id_signature
        return Signatures(names, versions, ids, frozenset(read["used"]), read["role"])

    def needs_everything(self, before: "Signatures", changed: Iterable[int]) -> bool:
        """Return whether everything has to be read again, not only the relations whose rows have changed."""
        if not self.used <= queries.signed() or self.role != before.role:
            return True
        for relation in changed:
            names = {names[relation] for names in (self.names, before.names) if relation in names}
            if relation == _OTHERS or len(names) > 1 or None in names:
                return True
        return False


async def read_signatures(fetch: Fetch, context: Any, version_table: str) -> Signatures:
    """Return the signatures; `context` is the row of `session_context`."""
    query = queries.signatures(context["version"] // 10000)
    [row] = await fetch(query, *scope_arguments(context, version_table))
    return Signatures.of(row)


@dataclass(slots=True)
class KnownCatalog:
    """A snapshot, the signatures of its relations, and the context in which it was read."""

    snapshot: Snapshot
    signatures: Signatures
    context: Any
    version_table: str
    _keys: dict[str, set[ObjectKey]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sort the objects by their relations."""
        _add(self._keys, self.snapshot.objects)

    async def update(self, fetch: Fetch) -> bool:
        """Read the objects of relations that have changed; return False if everything has to be read."""
        before, used = self.signatures, self.signatures.used
        known = list(before.versions), list(before.versions.values())
        while used <= queries.signed():
            query = queries.changed_relations(self.snapshot.major, used)
            *texts, (last,) = await fetch(query, *scope_arguments(self.context, self.version_table), *known)
            read = json.loads(last)
            now = before.after(read)
            moved = (relation for relation, *_ in read["moved"] or ())
            if read["whole"] or now.needs_everything(before, moved):
                return False
            if now.used <= used:
                self.signatures = now
                return not read["relations"] or self._replace(read["relations"], before, texts)
            used = now.used
        return False

    def _replace(self, relations: list[int], before: Signatures, texts: Iterable[Sequence[str]]) -> bool:
        """Replace the objects of relations; return False if a column may have another name."""
        builder = SnapshotBuilder(self.context["owner"])
        for (text,) in texts:
            builder.add(json.loads(text))
        names = {before.names.get(relation) for relation in relations} - {None}
        old = set().union(*(self._keys.get(name or "", ()) for name in names))
        gone, new = old - builder.objects.keys(), builder.objects.keys() - self.snapshot.objects.keys()
        tables = {self.snapshot.value(key, "of") for key in gone if key.kind == "column"}
        if any(key.kind == "column" and builder.objects[key].get("of") in tables for key in new):
            return False
        objects = dict(self.snapshot.objects)
        unmodelled = dict(self.snapshot.unmodelled)
        for key in old:
            del objects[key]
            unmodelled.pop(f"namesake of {key}", None)
        for name in names:
            self._keys.pop(name or "", None)
        # Objects that are the same are kept, so that comparisons find them equal at once.
        known = ((key, fields, self.snapshot.objects.get(key)) for key, fields in builder.objects.items())
        objects |= {key: before if before == now else now for key, now, before in known}
        _add(self._keys, builder.objects)
        self.snapshot = replace(self.snapshot, objects=objects, unmodelled=unmodelled | builder.unmodelled)
        return True


def _add(keys: dict[str, set[ObjectKey]], objects: Mapping[ObjectKey, Fields]) -> None:
    for key, fields in objects.items():
        relation = str(key) if key.kind == "sequence" else fields.get("of") or str(key)
        keys.setdefault(relation, set()).add(key)
