"""Record catalogs during a run, and compare them by the addresses of objects, which renames keep."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only

from circle_migrate.migrate.run import MigrationRun
from circle_migrate.postgres.catalog.reader import CatalogReader
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectAddress, ObjectKey, Ownership, Snapshot
from circle_migrate.postgres.identifier import IDENTIFIER, base_name, literal
from circle_migrate.revision_graph.plan import Action, Plan, Step
from circle_migrate.safety.losses.report import Effect, Loss, LossNamer
from circle_migrate.safety.trace.recorder import TraceHooks

_DATA_KINDS = frozenset({"table", "column", "sequence"})
"""Kinds whose data is lost, even if another object of the same name is created."""

_WITHOUT_OWN_ROWS = ("view", "materialized view", "foreign table")
_MAX_LENGTH = 60
"""Characters up to which the old and new value of a field are shown."""

_IGNORED_FIELDS = frozenset(
    {"of", "position", "comment", "inherited", "local", "generated_name", "statistics", "storage", "options"}
    | {"attribute_comments", "sequence_comment", "acl_of", "tablespace", "index_tablespace", "owned_by"}
)
"""Fields that do not affect data or behaviour."""

_WORD = re.compile(IDENTIFIER)
_ALIAS = re.compile(rf" AS {IDENTIFIER}")


@dataclass(frozen=True, slots=True)
class CatalogAddresses:
    """A snapshot, and the addresses of its objects; objects of rare kinds have none."""

    snapshot: Snapshot
    addresses: Mapping[ObjectKey, ObjectAddress]


def catalog_losses(
    namer: LossNamer,
    before: CatalogAddresses,
    steps: Sequence[tuple[str, Collection[ObjectAddress]]],
    after: CatalogAddresses | None,
) -> Iterator[Loss]:
    """Yield dropped objects without their parts, and changed ones, which are unknown without `after`."""
    old = before.snapshot.objects
    new = after.snapshot.objects if after else {}
    dropped = dict(_dropped(before, steps, after))
    recreated = {key: new[key] for key in dropped if key in new and key.kind not in _DATA_KINDS}
    lost = dropped.keys() - recreated.keys()
    parts = _parts(before.snapshot, lost)
    for key in sorted(lost - parts):
        detail = "another one of the same name is created" if key in new else ""
        owner = ObjectKey.parse(old[key].get("of") or "")
        derived = old[key].get("generated") is not None or owner.kind in _WITHOUT_OWN_ROWS
        derived = derived or (key.kind == "sequence" and _is_continued(key, old, new))
        yield replace(namer.loss(key, Effect.DROPPED, dropped[key], detail), derived=derived)
    if after is None:
        return
    by_address = {address: key for key, address in after.addresses.items()}
    new_keys = {key: by_address.get(address) for key, address in before.addresses.items()}
    names = ((base_name(now.identity), base_name(key.identity)) for key, now in new_keys.items() if now)
    renames = {name: old_name for name, old_name in names if name != old_name}
    # An object without an address is found by its name.
    pairs = ((key, new_keys.get(key, key)) for key in old)
    remaining = {key: new[new_key] for key, new_key in pairs if new_key and new_key in new}
    for key, new_fields in sorted((remaining | recreated).items()):
        if key.kind == "enum":
            labels = (new_fields.get("labels") or "").split("\n")
            for label in (old[key].get("labels") or "").split("\n"):
                if label and label not in labels:
                    value = ObjectKey("enum value", f"{key.identity}.{label}")
                    yield namer.loss(value, Effect.DROPPED, dropped.get(key, ""))
        elif key not in parts and (detail := _differences(old[key], new_fields, renames)):
            yield namer.loss(key, Effect.CHANGED, detail=detail)


def compare_by_name(namer: LossNamer, before: Snapshot, after: Snapshot) -> Iterator[Loss]:
    """Yield the losses between two snapshots, in which an object is dropped if its name is."""
    addresses = {key: (0, number, 0) for number, key in enumerate(sorted(before.objects))}
    remaining = {key: address for key, address in addresses.items() if key in after.objects}
    steps = [("", frozenset(remaining.values()))]
    target = CatalogAddresses(after, remaining)
    return catalog_losses(namer, CatalogAddresses(before, addresses), steps, target)


def _is_continued(
    sequence: ObjectKey, old: Mapping[ObjectKey, Fields], new: Mapping[ObjectKey, Fields]
) -> bool:
    """Return whether all columns that take their numbers from a sequence have another one afterwards."""
    call = f"nextval({literal(sequence.identity)}::regclass)"
    columns = [new.get(key, {}) for key, fields in old.items() if call in (fields.get("default") or "")]
    return bool(columns) and all(
        fields.get("identity") or "nextval(" in (fields.get("default") or "") for fields in columns
    )


def _dropped(
    before: CatalogAddresses,
    steps: Sequence[tuple[str, Collection[ObjectAddress]]],
    after: CatalogAddresses | None,
) -> Iterator[tuple[ObjectKey, str]]:
    """Yield dropped objects with their revision; those without an address by name, with no revision."""
    for key in before.snapshot.objects:
        address = before.addresses.get(key)
        if address is not None:
            revision = next((name for name, addresses in steps if address not in addresses), None)
            if revision is not None:
                yield key, revision
        elif after is not None and key not in after.snapshot.objects:
            yield key, ""


def _differences(old: Fields, new: Fields, renames: Mapping[str, str]) -> str:
    """Describe the fields that differ by more than renamed objects."""
    texts = []
    for name in sorted((old.keys() | new.keys()) - _IGNORED_FIELDS):
        before, after = old.get(name) or "none", new.get(name) or "none"
        if before == after or (
            renames and _without_renames(before, renames) == _without_renames(after, renames)
        ):
            continue
        field = name.replace("_", " ")
        is_short = len(before + after) <= _MAX_LENGTH and "\n" not in before + after
        texts.append(f"{field}: {before} -> {after}" if is_short else f"{field} changed")
    return ", ".join(texts)


def _without_renames(definition: str, renames: Mapping[str, str]) -> str:
    """Return a definition with old names, and without the aliases that renames of columns add to views."""
    return _ALIAS.sub("", _WORD.sub(lambda word: renames.get(word[0], word[0]), definition))


def _parts(snapshot: Snapshot, dropped: Collection[ObjectKey]) -> set[ObjectKey]:
    """Return the objects that are dropped or changed with an object of which they are parts."""
    ownership = Ownership(snapshot)
    parts = {part for key in dropped for part in ownership.owned_objects(key)}
    for key, fields in snapshot.objects.items():
        if any(parent in dropped for parent in _parents(key, fields)):
            parts.add(key)
    return parts


def _parents(key: ObjectKey, fields: Fields) -> Iterator[ObjectKey]:
    owner = ObjectKey.parse(fields.get("of") or "")
    if key.kind == "index" and fields.get("constraint"):
        yield ObjectKey("constraint", f"{owner.identity}.{fields['constraint']}")
    if key.kind == "sequence" and fields.get("owned_by"):
        yield ObjectKey("column", fields["owned_by"] or "")
    for parent in (fields.get("partition_of") or "").split("\n"):
        yield ObjectKey("table", parent)


@dataclass(slots=True)
class CatalogWatch:
    """Catalogs before and after a plan, and object addresses after the last attempt of each step."""

    plan: Plan
    before: dict[str, CatalogAddresses] = field(default_factory=dict)
    after: dict[str, CatalogAddresses] = field(default_factory=dict)
    remaining: dict[tuple[str, str], frozenset[ObjectAddress]] = field(default_factory=dict)
    _readers: dict[str, CatalogReader] = field(default_factory=dict)

    async def begin(self, name: str, reader: CatalogReader) -> None:
        """Record the catalog of a database before the plan runs there."""
        self._readers[name] = reader
        if name not in self.before:
            self.before[name] = await _catalog(reader)

    def record_after_step(self, action: Action, *, is_current: bool = False) -> None:
        """Record the addresses after a step, within its transaction; `is_current` as of the reader."""
        if not isinstance(action, Step):
            return
        name, revision = action.database, action.revision.id
        reader = self._readers[name]
        if revision == self.plan.steps(name)[-1].revision.id:
            self.after[name] = await_only(_catalog(reader))
        self.remaining[name, revision] = await_only(reader.present_ids(is_current=is_current))

    def losses(self, namer: LossNamer) -> Iterator[Loss]:
        """Yield the losses of a database in the steps that were recorded."""
        name = namer.database
        revisions = [step.revision.id for step in self.plan.steps(name)]
        steps = [(id_, self.remaining[name, id_]) for id_ in revisions if (name, id_) in self.remaining]
        return catalog_losses(namer, self.before[name], steps, self.after.get(name))


class LossHooks(TraceHooks):
    """Hooks that record the catalogs of a traced run."""

    def __init__(self, watch: CatalogWatch) -> None:
        super().__init__()
        self.watch = watch

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Record every catalog before the plan runs."""
        await super().before_run(run, plan)
        for name in plan.databases:
            await self.watch.begin(name, self._connections[name].reader)

    def after_step(self, connection: Connection, action: Action) -> None:
        """Record the catalog after the step."""
        super().after_step(connection, action)
        is_current = self._connections[action.database].is_current if isinstance(action, Step) else False
        self.watch.record_after_step(action, is_current=is_current)


async def _catalog(reader: CatalogReader) -> CatalogAddresses:
    return CatalogAddresses(await reader.snapshot(), await reader.object_ids())
