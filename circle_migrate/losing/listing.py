"""What became of a catalogue, as losses: by the names people type, and not counted yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from circle_migrate.core.catalog import Fields, Key, Snapshot
from circle_migrate.core.losses import Effect, Loss
from circle_migrate.core.vanished import Address, Altered, Catalogue, Outcome, outcome

_LONGEST = 60
"""Characters of a field that are shown; of more it is only said that it is another one."""

_WITHOUT_ROWS_OF_ITS_OWN = ("view", "materialized view", "foreign table")


@dataclass(frozen=True, slots=True)
class Names:
    """How objects of a database are called: without the schema in which names without one are found."""

    database: str
    schema: str

    @classmethod
    def of(cls, database: str, search_path: str) -> Names:
        """The names under a search_path; a schema of the role's own name is none."""
        schemas = (each.strip() for each in search_path.split(","))
        return cls(database, next((each for each in schemas if each.strip('"') != "$user"), "public"))

    def name(self, identity: str) -> str:
        """The word for an object, as its catalogue prints it."""
        return f"{self.database}.{identity.removeprefix(f'{self.schema}.')}"

    def loss(self, key: Key, effect: Effect, revision: str = "", detail: str = "") -> Loss:
        """A loss of an object."""
        name = self.name(key.identity)
        return Loss(self.database, key.kind, name, key.identity, effect, revision, detail=detail)


def listed(names: Names, found: Outcome, before: Snapshot) -> Iterator[Loss]:
    """The losses of a catalogue that was like this before."""
    for gone in found.vanished:
        detail = "one of the same name is made anew" if gone.replaced else ""
        loss = names.loss(gone.key, Effect.DROPPED, revision=gone.revision, detail=detail)
        yield replace(loss, derived=_is_derived(before.objects[gone.key]))
    for altered in found.altered:
        yield names.loss(altered.key, Effect.CHANGED, detail=_altered(altered))
    for lost in found.labels:
        key = Key("enum value", f"{lost.enum.identity}.{lost.label}")
        yield names.loss(key, Effect.DROPPED, revision=lost.revision)


def by_names(before: Snapshot, after: Snapshot) -> Outcome:
    """What is known of a downgrade from two snapshots alone: an object goes where its name does."""
    addresses: dict[Key, Address] = {key: (0, at, 0) for at, key in enumerate(sorted(before.objects))}
    kept = {key: address for key, address in addresses.items() if key in after.objects}
    return outcome(Catalogue(before, addresses), [("", frozenset(kept.values()))], Catalogue(after, kept))


def _is_derived(fields: Fields) -> bool:
    """Whether it is a column whose values are computed, or kept elsewhere."""
    owner = Key.parse(fields.get("of") or "")
    return fields.get("generated") is not None or owner.kind in _WITHOUT_ROWS_OF_ITS_OWN


def _altered(altered: Altered) -> str:
    """What is another one than before, in words."""
    found = []
    for name, (old, new) in altered.fields.items():
        texts = (old or "none", new or "none")
        short = sum(map(len, texts)) <= _LONGEST and not any("\n" in text for text in texts)
        label = name.replace("_", " ")
        found.append(f"{label}: {texts[0]} -> {texts[1]}" if short else f"another {label}")
    return ", ".join(found)
