"""The properties of an object kind from which its DDL is written."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.statement import option_changes, optional_clauses, split_field
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import base_name


class Hazardous(NamedTuple):
    """A command with the ids of its possible hazards."""

    sql: str
    hazards: tuple[str, ...]


Command = str | Hazardous
Commands = Iterable[Command]


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """The change of one object; for a new object, `before` is the state after its CREATE.

    `catalog` is the target, `existing` the catalog before the script, `major` the server's major version.
    `converted` is True if the type is replaced by another type of the same name.
    """

    key: ObjectKey
    before: Fields
    after: Fields
    catalog: Catalog
    major: int
    existing: Catalog
    converted: bool = False

    @property
    def owner(self) -> ObjectKey:
        """The object that this object belongs to."""
        return ObjectKey.parse(self.after.get("of") or self.before.get("of") or "")

    def values(self, name: str) -> tuple[str | None, str | None]:
        """Return the value of a field before and after the change."""
        return self.before.get(name), self.after.get(name)

    def differs(self, *names: str) -> bool:
        """Return whether any of these fields changes."""
        return ("type" in names and self.converted) or any(
            self.before.get(name) != self.after.get(name) for name in names
        )

    def changed_entries(self, name: str) -> list[tuple[str, str | None]]:
        """Return the entries that differ in a field of `name: value` lines; None for a removed entry."""
        lines = (split_field(text) for text in self.values(name))
        before, after = (dict(line.split(": ", 1) for line in entries) for entries in lines)
        names = sorted(before.keys() | after.keys())
        return [(entry, after.get(entry)) for entry in names if before.get(entry) != after.get(entry)]


Write = Callable[[ObjectChange], Commands]

_NOUNS = {"enum": "TYPE", "composite type": "TYPE", "foreign server": "SERVER"}


def alter(change: ObjectChange) -> str:
    """Return the beginning of the ALTER command of an object."""
    return f"ALTER {_NOUNS.get(change.key.kind) or change.key.kind.upper()} {change.key.identity}"


def alter_owner(change: ObjectChange) -> str:
    """Return the beginning of the ALTER command of the object that an object belongs to."""
    return f"ALTER {change.owner.kind.upper()} {change.owner.identity}"


def clause(
    field: str, present: str, absent: str, *hazards: str, head: Callable[[ObjectChange], str] = alter
) -> Write:
    """Return a writer of an ALTER for one field: `present` as in `optional_clauses`, or `absent`."""

    def write(change: ObjectChange) -> Commands:
        present_clause = optional_clauses(change.after, {field: present})
        yield Hazardous(" ".join([head(change), *(present_clause or [absent])]), hazards)

    return write


def change_options(change: ObjectChange) -> Commands:
    """Write the commands that change the options of an object."""
    foreign = change.key.kind.startswith("foreign ")
    return option_changes(alter(change), *change.values("options"), foreign=foreign)


def name_on_owner(key: ObjectKey, fields: Fields) -> str:
    """Return `name ON table` for an object that belongs to a table or domain."""
    owner = ObjectKey.parse(fields.get("of") or "")
    return f"{base_name(key.identity)} ON {'DOMAIN ' if owner.kind == 'domain' else ''}{owner.identity}"


def from_definition(change: ObjectChange) -> Commands:
    """Write the definition, which is a CREATE command."""
    definition = (change.after.get("definition") or "").rstrip().removesuffix(";")
    if definition and not change.after.get("inherited"):
        yield definition


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """The commands that create, alter and drop objects of one kind.

    `noun` is the SQL name of the kind, `grant` its name in GRANT; `name` writes the name after the noun.
    `create` writes the commands that create an object and set the fields in `covers`, or is a template for
    the text after CREATE and the noun: {0} is the identity, {1} the definition, {2} that in one line. The
    other fields of a new object start with the values in `defaults` and are then altered.
    `alters` has the writers that change a field in place. A change of another covered field replaces the
    object, unless `in_place` accepts it; then `rerun` writes it, by default as the definition. `follows` are
    fields that another object or field determines. `drop_hazards` are the hazards of the default DROP; an
    object that belongs to a constraint or is inherited needs none.
    `unsupported` names the part of a change that has no command, if any. `can_create` is False if a snapshot
    does not contain the whole definition: secrets, or members of a family.
    """

    noun: str
    create: Write | str = from_definition
    covers: AbstractSet[str] = frozenset({"definition"})
    alters: Mapping[str, Write] = field(default_factory=dict)
    follows: AbstractSet[str] = frozenset()
    name: Callable[[ObjectKey, Fields], str] = lambda key, _fields: key.identity
    drop: Write | None = None
    drop_hazards: tuple[str, ...] = ()
    grant: str | None = None
    in_place: Callable[[ObjectChange], bool] | None = None
    rerun: Write = from_definition
    defaults: Mapping[str, str] = field(default_factory=dict)
    unsupported: Callable[[ObjectChange], str | None] | None = None
    can_create: bool = True

    def create_commands(self, change: ObjectChange) -> Commands:
        """Return the commands that create an object."""
        if not isinstance(self.create, str):
            return self.create(change)
        definition = change.after.get("definition")
        text = self.create.format(change.key.identity, definition, " ".join(split_field(definition)))
        return [f"CREATE {self.noun} {text}"]

    def drop_commands(self, change: ObjectChange) -> Commands:
        """Return the commands that drop an object; none if another object's drop includes it."""
        if self.drop is not None:
            return self.drop(change)
        if change.before.get("constraint") or change.before.get("inherited"):
            return []
        return [Hazardous(f"DROP {self.noun} {self.name(change.key, change.before)}", self.drop_hazards)]

    def replaces(self, change: ObjectChange) -> bool:
        """Return whether the object must be dropped and created again."""
        return self._changes_definition(change) and not (self.in_place is not None and self.in_place(change))

    def alter_commands(self, change: ObjectChange) -> Iterator[Command]:
        """Yield the commands that change an object in place."""
        if self._changes_definition(change):
            yield from self.rerun(change)
        for write in dict.fromkeys(write for name, write in self.alters.items() if change.differs(name)):
            yield from write(change)

    def _changes_definition(self, change: ObjectChange) -> bool:
        return change.differs(*(self.covers - self.alters.keys() - self.follows))
