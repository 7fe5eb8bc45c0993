"""What the DDL needs to know of a kind of object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import base_name, literal


class Hazardous(NamedTuple):
    """A command with the ids of the hazards it may be, as the hazard catalogue has them."""

    sql: str
    hazards: tuple[str, ...]


Command = str | Hazardous
Commands = Iterable[Command]


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One object on its way from one state to another; of a new one `before` is what its CREATE gives it.

    `catalog` is the side it leads to, `existing` what there is before, `major` the server's major version.
    `converted` says that a type of the same name is another one now.
    """

    key: ObjectKey
    before: Fields
    after: Fields
    catalog: Catalog
    major: int
    existing: Catalog = field(default_factory=lambda: Catalog({}))
    converted: bool = False

    @property
    def owner(self) -> ObjectKey:
        """The object it is part of."""
        return ObjectKey.parse(self.after.get("of") or self.before.get("of") or "")

    def change(self, name: str) -> tuple[str | None, str | None]:
        """A field's two values."""
        return self.before.get(name), self.after.get(name)

    def differs(self, *names: str) -> bool:
        """Whether any of these fields is another one."""
        return ("type" in names and self.converted) or any(
            self.before.get(name) != self.after.get(name) for name in names
        )


Write = Callable[[ObjectChange], Commands]

ENABLED = {"origin": "ENABLE", "always": "ENABLE ALWAYS", "replica": "ENABLE REPLICA", "disabled": "DISABLE"}
"""How ALTER puts the field `enabled`."""


def alter(step: ObjectChange) -> str:
    """Return the beginning of the ALTER of an object whose kind is its SQL noun."""
    return f"ALTER {step.key.kind.upper()} {step.key.identity}"


def optional_clauses(fields: Fields, templates: Mapping[str, str]) -> list[str]:
    """Return the clause of each field that has a value, which stands for {}."""
    return [text.format(fields[name]) for name, text in templates.items() if fields.get(name)]


def from_template(template: str) -> Write:
    """Write a CREATE with the object's identity for {0} and its definition for {1}."""
    return lambda step: [template.format(step.key.identity, step.after.get("definition"))]


def comment_on(target: str, comment: str | None) -> str:
    """Return the COMMENT command of an object; without a comment it is removed."""
    return f"COMMENT ON {target} IS {'NULL' if comment is None else literal(comment)}"


def clause(
    field: str, present: str, absent: str, *hazards: str, head: Callable[[ObjectChange], str] = alter
) -> Write:
    """Write an ALTER for one field: `present` with the value for {}, or `absent` if there is none."""

    def write(step: ObjectChange) -> Commands:
        value = step.after.get(field)
        yield Hazardous(f"{head(step)} {present.format(value) if value else absent}", hazards)

    return write


def plain_name(key: ObjectKey, _fields: Fields) -> str:
    """How most objects are named in commands."""
    return key.identity


def name_on_owner(key: ObjectKey, fields: Fields) -> str:
    """How what belongs to a table is named: `name ON table`."""
    owner = ObjectKey.parse(fields.get("of") or "")
    return f"{base_name(key.identity)} ON {'DOMAIN ' if owner.kind == 'domain' else ''}{owner.identity}"


def from_definition(step: ObjectChange) -> Commands:
    """The definition is the CREATE."""
    definition = (step.after.get("definition") or "").rstrip().removesuffix(";")
    if definition and not step.after.get("inherited"):
        yield definition


def never(_step: ObjectChange) -> str | None:
    """Nothing stands in the way."""
    return None


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """How objects of one kind are made, changed and dropped.

    `noun` is the SQL for the kind. `create` writes the commands that make an object and `covers` names the
    fields they decide; the other fields of a new object are altered as those of an old one, from what `born`
    says. `drop_hazards` are those of the usual DROP. `alters` changes fields in place; a change of any other
    covered field replaces the object, unless `in_place` agrees that `rerun` leads there. `follows` are fields
    that another object or field decides. `grant` is the noun of GRANT, `owned` whether it has an owner of its
    own, `name` what follows the noun. `lacks` says what of a step cannot be expressed. Of what is not
    `makeable` a snapshot does not hold enough: secrets, or members it does not list.
    """

    noun: str
    create: Write = from_definition
    covers: frozenset[str] = frozenset({"definition"})
    alters: Mapping[str, Write] = field(default_factory=dict)
    follows: frozenset[str] = frozenset()
    name: Callable[[ObjectKey, Fields], str] = plain_name
    drop: Write | None = None
    drop_hazards: tuple[str, ...] = ()
    grant: str | None = None
    owned: bool = True
    in_place: Callable[[ObjectChange], bool] | None = None
    rerun: Write | None = None
    born: Mapping[str, str] = field(default_factory=dict)
    unsupported: Callable[[ObjectChange], str | None] = never
    makeable: bool = True

    def dropping(self, step: ObjectChange) -> Commands:
        """The commands that drop what a step starts with; none where it goes with something else."""
        if self.drop is not None:
            return self.drop(step)
        return [Hazardous(f"DROP {self.noun} {self.name(step.key, step.before)}", self.drop_hazards)]

    def replaces(self, step: ObjectChange) -> bool:
        """Whether an object has to be dropped and made again."""
        return self._beyond(step) and not (self.in_place is not None and self.in_place(step))

    def altering(self, step: ObjectChange) -> Iterator[Command]:
        """The commands that change an object in place."""
        if self.rerun is not None and self._beyond(step):
            yield from self.rerun(step)
        for write in dict.fromkeys(write for name, write in self.alters.items() if step.differs(name)):
            yield from write(step)

    def _beyond(self, step: ObjectChange) -> bool:
        return step.differs(*(self.covers - self.alters.keys() - self.follows))
