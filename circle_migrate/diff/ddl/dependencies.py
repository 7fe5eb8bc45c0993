"""Find the objects that an object of a snapshot needs, from the texts of its definition.

Texts are printed with `search_path = pg_catalog`, so every name outside of pg_catalog is qualified and a
qualified name is a reference. Columns are printed without their table: a column counts as used if the text
names its table and contains its name. The result may contain too much, never too little.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import (
    IDENTIFIER,
    base_name,
    schema_of,
    split_lines,
    unquote,
    without_arguments,
)

RELATIONS = ("table", "foreign table", "view", "materialized view")
ROUTINES = ("function", "procedure", "aggregate", "window function")

_NAMED_BY_FIELD = {"server": "foreign server", "wrapper": "foreign data wrapper"}
# Kinds that have an owner, but are not dropped with it.
_NOT_PARTS = {"sequence", "default privileges", "user mapping"}
_NO_TEXT = {"of", "comment", "owner", "acl", "position", "owned_by", "sequence_acl", "sequence_comment"}
_QUALIFIED = re.compile(rf"{IDENTIFIER}(?:\.{IDENTIFIER})+")
_IDENTIFIERS = re.compile(IDENTIFIER)
_BODY = re.compile(r"\nAS (\$\w*\$).*\1", re.DOTALL)
_FOREIGN = re.compile(rf"REFERENCES ({IDENTIFIER}(?:\.{IDENTIFIER})*)\(([^)]*)\)")
_UNIQUE = re.compile("PRIMARY KEY|UNIQUE|CREATE UNIQUE INDEX")


class Catalog:
    """The objects of one side, without fields that are None, and their dependencies."""

    def __init__(self, objects: Mapping[ObjectKey, Fields]) -> None:
        self.objects: Mapping[ObjectKey, Fields] = {
            key: {name: value for name, value in fields.items() if value is not None}
            for key, fields in objects.items()
        }
        self._needs: dict[ObjectKey, frozenset[ObjectKey]] = {}

    def __contains__(self, key: ObjectKey) -> bool:
        return key in self.objects

    def owner_of(self, key: ObjectKey) -> ObjectKey | None:
        """Return the object that an object belongs to, as the table of a column."""
        owner = self.value(key, "of")
        return ObjectKey.parse(owner) if owner else None

    def value(self, key: ObjectKey, field: str) -> str | None:
        """Return a field of an object; None also if the object does not exist."""
        return self.objects.get(key, {}).get(field)

    def parts_of(self, owner: ObjectKey, kind: str) -> list[ObjectKey]:
        """Return the parts of an object of one kind; columns in their order."""
        keys = [key for key in self._parts.get(owner, ()) if key.kind == kind]
        return sorted(keys, key=lambda key: (int(self.value(key, "position") or 0), key))

    def all_parts(self, owner: ObjectKey) -> Iterator[ObjectKey]:
        """Yield the parts of an object and their parts."""
        for key in self._parts.get(owner, ()):
            yield key
            yield from self.all_parts(key)

    def parent_columns(self, column: ObjectKey) -> list[ObjectKey]:
        """Return the columns from which a column of a partition or child table is inherited."""
        owner = self.owner_of(column)
        if owner is None or not self.value(column, "inherited"):
            return []
        tables = split_lines(self.value(owner, "partition_of")) + split_lines(self.value(owner, "inherits"))
        columns = (ObjectKey("column", f"{table}.{base_name(column.identity)}") for table in tables)
        return [key for key in columns if key in self]

    def ancestors(self, partition: ObjectKey | None) -> Iterator[ObjectKey]:
        """Yield the table that has a partition, and those that have that table as a partition."""
        while partition and (parent := self.value(partition, "partition_of")):
            yield (partition := ObjectKey("table", parent))

    def merged_into(self, key: ObjectKey) -> set[ObjectKey]:
        """Return those above a partition's index or constraint, if this has a name of its own."""
        if not self.value(key, "inherited") or self.value(key, "generated_name"):
            return set()
        tables = self.ancestors(self.owner_of(key))
        above = {other for table in tables for other in self.parts_of(table, key.kind)}
        return set() if base_name(key.identity) in {base_name(other.identity) for other in above} else above

    def needs(self, key: ObjectKey) -> frozenset[ObjectKey]:
        """Return the objects that an object needs."""
        if key not in self._needs:
            self._needs[key] = frozenset(self._references(key)) & self.objects.keys() - {key}
        return self._needs[key]

    def overloads_of(self, routine: ObjectKey) -> set[ObjectKey]:
        """Return the routines with the name of a routine; none for another object."""
        keys = self._by_name[without_arguments(routine.identity)] if routine.kind in ROUTINES else ()
        return {key for key in keys if key.kind in ROUTINES}

    @cached_property
    def needed_by(self) -> Mapping[ObjectKey, set[ObjectKey]]:
        """The objects that need an object."""
        users: dict[ObjectKey, set[ObjectKey]] = {}
        for key in self.objects:
            for needed in self.needs(key):
                users.setdefault(needed, set()).add(key)
        return users

    @cached_property
    def _parts(self) -> Mapping[ObjectKey, list[ObjectKey]]:
        parts: dict[ObjectKey, list[ObjectKey]] = {}
        for key in self.objects:
            owner = self.owner_of(key)
            if owner is not None and key.kind not in _NOT_PARTS:
                parts.setdefault(owner, []).append(key)
        return parts

    @cached_property
    def _by_name(self) -> Mapping[str, list[ObjectKey]]:
        keys: dict[str, list[ObjectKey]] = {}
        for key in self.objects:
            if self.owner_of(key) is None or key.kind in {"sequence", "index", "statistics"}:
                name = without_arguments(key.identity).partition(" USING ")[0]
                for other in {name, self.value(key, "multirange") or name}:
                    keys.setdefault(other, []).append(key)
        return keys

    def _references(self, key: ObjectKey) -> Iterator[ObjectKey]:
        """Yield what an object may need; some of it may not exist."""
        fields = self.objects[key]
        owner = self.owner_of(key)
        text = self._text(key)
        named = {named_key for name in _qualified_names(text) for named_key in self._by_name.get(name, ())}
        named -= self.overloads_of(key)
        yield from named
        if owner is not None and key.kind != "sequence":
            yield owner
        if key.kind not in {"schema", "extension", "setting", "event trigger", "publication", "column"}:
            yield ObjectKey("schema", schema_of(key.identity))
        yield from (ObjectKey("schema", name) for name in split_lines(fields.get("schemas")))
        for field in ("schema", "language", "server", "wrapper"):
            yield ObjectKey(_NAMED_BY_FIELD.get(field, field), fields.get(field) or "")
        identifiers = {unquote(identifier) for identifier in _IDENTIFIERS.findall(text)}
        for relation in {owner, *named}:
            if relation is not None and relation.kind in RELATIONS:
                for column in self.parts_of(relation, "column"):
                    if unquote(base_name(column.identity)) in identifiers:
                        yield column
        if key.kind in {"table", "foreign table"}:
            own_parts = {key, *self.all_parts(key)}
            for column in self.parts_of(key, "column"):
                yield from self.needs(column) - own_parts
        if fields.get("type") == "foreign key":
            yield from self._referenced_keys(fields.get("definition") or "")
        if fields.get("constraint") and owner is not None:
            yield ObjectKey("constraint", f"{owner.identity}.{fields['constraint']}")

    def _text(self, key: ObjectKey) -> str:
        fields = self.objects[key]
        texts = [value for name, value in fields.items() if value and name not in _NO_TEXT]
        if key.kind in ROUTINES:
            texts = [_BODY.sub("", text) for text in texts] + [key.identity.partition("(")[2]]
        return "\n".join(texts)

    def _referenced_keys(self, definition: str) -> Iterator[ObjectKey]:
        """Yield the unique constraints and indexes that a foreign key may depend on."""
        match = _FOREIGN.search(definition)
        if match is None:
            return
        table = ObjectKey("table", match[1])
        referenced = set(_IDENTIFIERS.findall(match[2])) - {"PERIOD"}
        for key in (*self.parts_of(table, "constraint"), *self.parts_of(table, "index")):
            text = self.value(key, "definition") or ""
            if _UNIQUE.match(text) and referenced.issubset(_IDENTIFIERS.findall(text)):
                yield key


def _qualified_names(text: str) -> set[str]:
    """Return the qualified names in a text and their prefixes: `a.b.c` may be column c of table a.b."""
    names: set[str] = set()
    for name in _QUALIFIED.findall(text):
        parts = _IDENTIFIERS.findall(name)
        names.update(".".join(parts[:count]) for count in range(2, len(parts) + 1))
    return names
