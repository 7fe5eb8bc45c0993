"""Find the objects that a statement renames, in snapshots that have names and no identities."""

from collections.abc import Iterator, Sequence

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.sql_text import compile_pattern, own_name

_RENAMES = compile_pattern(r"\b(?:RENAME|SET\s+SCHEMA)\b")
_SHAPE = ("position", "type", "generated", "identity", "collation", "partition_key", "labels")
"""The fields that a rename keeps; definitions contain the name and change with it."""


def says_rename(sql: str) -> bool:
    """Return whether a statement says RENAME or SET SCHEMA."""
    return _RENAMES.search(sql) is not None


def possible_renames(changes: Sequence[Change]) -> Iterator[tuple[Change, Change]]:
    """Yield removed objects with the one added of the same owner and name, else of the same shape."""
    removed = [change for change in changes if change.op is Op.REMOVED]
    added = [change for change in changes if change.op is Op.ADDED]
    renamed: dict[object, object] = {}
    for old in sorted(removed, key=lambda change: change.owner is not None):
        owner = renamed.get(old.owner, old.owner)
        free = (new for new in added if new.key not in renamed.values())
        candidates = [new for new in free if new.key.kind == old.key.kind and new.owner == owner]
        same_name = [new for new in candidates if own_name(new.key.identity) == own_name(old.key.identity)]
        shape = _shape(old, 0, changes)
        same_shape = (new for new in candidates if _shape(new, 1, changes) == shape)
        alike = same_name if len(same_name) == 1 else list(same_shape)
        if len(alike) == 1:
            renamed[old.key] = alike[0].key
            yield old, alike[0]


def _shape(change: Change, side: int, changes: Sequence[Change]) -> tuple[object, ...]:
    """Return the fields of an object that a rename keeps, and those of its columns by their names."""
    columns = (part for part in changes if part.key.kind == "column" and part.owner == change.key)
    fields = tuple(change.fields.get(name, (None, None))[side] for name in _SHAPE)
    return (*fields, frozenset((own_name(part.key.identity), _shape(part, side, ())) for part in columns))
