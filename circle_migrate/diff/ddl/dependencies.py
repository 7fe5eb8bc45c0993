"""What an object of a snapshot needs, read from its texts.

Snapshots are printed with `search_path = pg_catalog`: whatever lies elsewhere is named with its schema, so
that a qualified name in a text is a reference. Columns are named without their table; a column is taken to
be used wherever its table and its name occur. That finds too much rather than too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import (
    IDENTIFIER,
    base_name,
    split_identity,
    unquote,
    without_arguments,
)

RELATIONS = ("table", "foreign table", "view", "materialized view")
ROUTINES = ("function", "procedure", "aggregate", "window function")

_NAMED_BY_FIELD = {"server": "foreign server", "wrapper": "foreign data wrapper", "language": "language"}
# They name an owner without being a part that goes with it.
_APART = {"sequence", "default privileges", "user mapping"}
_NO_TEXT = {"of", "comment", "owner", "acl", "position", "owned_by", "sequence_acl", "sequence_comment"}
_QUALIFIED = re.compile(rf"{IDENTIFIER}(?:\.{IDENTIFIER})+")
_WORD = re.compile(IDENTIFIER)
_BODY = re.compile(r"\nAS (\$\w*\$).*\1", re.DOTALL)
_FOREIGN = re.compile(rf"REFERENCES ({IDENTIFIER}(?:\.{IDENTIFIER})*)\(([^)]*)\)")
_COLUMNS = re.compile(r"(?:PRIMARY KEY|UNIQUE(?: NULLS NOT DISTINCT)?) \(([^)]*)\)")


class Catalog:
    """The objects of one side, and which of them each one needs."""

    def __init__(self, objects: Mapping[ObjectKey, Fields]) -> None:
        self.objects = objects
        self._needs: dict[ObjectKey, frozenset[ObjectKey]] = {}

    def __contains__(self, key: ObjectKey) -> bool:
        return key in self.objects

    def owner_of(self, key: ObjectKey) -> ObjectKey | None:
        """What an object is part of: the table of a column."""
        of = self.objects.get(key, {}).get("of")
        return ObjectKey.parse(of) if of else None

    def value(self, key: ObjectKey, field: str) -> str | None:
        """A field of an object; None also where there is no such object."""
        return self.objects.get(key, {}).get(field)

    def parts_of(self, owner: ObjectKey, kind: str) -> list[ObjectKey]:
        """The parts of an object that are of one kind; columns in their order."""
        keys = [key for key in self._parts.get(owner, ()) if key.kind == kind]
        return sorted(keys, key=lambda key: (int(self.value(key, "position") or 0), key))

    def all_parts(self, owner: ObjectKey) -> Iterator[ObjectKey]:
        """The parts of an object and theirs."""
        for key in self._parts.get(owner, ()):
            yield key
            yield from self.all_parts(key)

    def needs(self, key: ObjectKey) -> frozenset[ObjectKey]:
        """What has to be there for the object to be."""
        if key not in self._needs:
            self._needs[key] = frozenset(self._find(key)) - {key}
        return self._needs[key]

    @cached_property
    def needed_by(self) -> Mapping[ObjectKey, frozenset[ObjectKey]]:
        """The other way around: which objects need each one."""
        users: dict[ObjectKey, set[ObjectKey]] = {}
        for key in self.objects:
            for needed in self.needs(key):
                users.setdefault(needed, set()).add(key)
        return {key: frozenset(object_keys) for key, object_keys in users.items()}

    @cached_property
    def _parts(self) -> Mapping[ObjectKey, list[ObjectKey]]:
        found: dict[ObjectKey, list[ObjectKey]] = {}
        for key in self.objects:
            owner = self.owner_of(key)
            if owner is not None and key.kind not in _APART:
                found.setdefault(owner, []).append(key)
        return found

    @cached_property
    def _named(self) -> Mapping[str, list[ObjectKey]]:
        found: dict[str, list[ObjectKey]] = {}
        for key in self.objects:
            if self.owner_of(key) is None or key.kind in {"sequence", "index", "statistics"}:
                name = without_arguments(key.identity).partition(" USING ")[0]
                found.setdefault(name, []).append(key)
        return found

    def _find(self, key: ObjectKey) -> Iterator[ObjectKey]:
        fields = self.objects[key]
        owner = self.owner_of(key)
        text = self._text(key)
        named = {object_key for name in _names(text) for object_key in self._named.get(name, ())}
        yield from named
        if owner is not None and owner in self.objects and key.kind not in {"sequence"}:
            yield owner
        if key.kind not in {"schema", "extension", "setting", "event trigger", "publication", "column"}:
            yield from self._named_schema(split_identity(key.identity)[0])
        yield from self._named_schema(fields.get("schema") or "")
        for field, kind in _NAMED_BY_FIELD.items():
            named_key = ObjectKey(kind, fields.get(field) or "")
            if named_key in self.objects:
                yield named_key
        words = {unquote(word) for word in _WORD.findall(text)}
        for relation in {owner, *named}:
            if relation is not None and relation.kind in RELATIONS:
                columns = self.parts_of(relation, "column")
                yield from (column for column in columns if unquote(base_name(column.identity)) in words)
        if key.kind in {"table", "foreign table"}:
            for column in self.parts_of(key, "column"):
                yield from (
                    object_key
                    for object_key in self.needs(column)
                    if object_key not in {key, *self.all_parts(key)}
                )
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

    def _named_schema(self, name: str) -> Iterator[ObjectKey]:
        if ObjectKey("schema", name) in self.objects:
            yield ObjectKey("schema", name)

    def _referenced_keys(self, definition: str) -> Iterator[ObjectKey]:
        """The constraints and unique indexes a foreign key may rest on."""
        match = _FOREIGN.search(definition)
        if match is None:
            return
        table = ObjectKey("table", match[1])
        wanted = set(match[2].split(", "))
        for key in (*self.parts_of(table, "constraint"), *self.parts_of(table, "index")):
            text = self.value(key, "definition") or ""
            columns = _COLUMNS.search(text) or re.search(r"^CREATE UNIQUE INDEX .* \(([^)]*)\)", text)
            if columns and set(columns[1].split(", ")) == wanted:
                yield key


def _names(text: str) -> set[str]:
    """Every qualified name in a text, and what each begins with: `a.b.c` may be column c of a.b."""
    names: set[str] = set()
    for found in _QUALIFIED.findall(text):
        pieces = _WORD.findall(found)
        names.update(".".join(pieces[:count]) for count in range(2, len(pieces) + 1))
    return names
