"""Identity columns and their sequences, which a snapshot describes in fields of the column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from circle_migrate.diff.ddl import attributes
from circle_migrate.diff.ddl.clauses import comment_on, split_field
from circle_migrate.diff.ddl.kind import ObjectChange
from circle_migrate.postgres.catalog.acl import OWNER
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import quote_if_needed, schema_of, split_identity, unquote

_DEFAULTS = {
    "INCREMENT": "SET INCREMENT BY 1",
    "MINVALUE": "SET NO MINVALUE",
    "MAXVALUE": "SET NO MAXVALUE",
    "START": "SET START WITH 1",
    "CACHE": "SET CACHE 1",
    "CYCLE": "SET NO CYCLE",
}


def clause(key: ObjectKey, fields: Fields) -> str:
    """Return the GENERATED ... AS IDENTITY clause of a column definition."""
    always, *options = split_field(fields.get("identity"))
    if fields.get("identity_sequence"):
        options.insert(0, f"SEQUENCE NAME {schema_of(key.identity)}.{fields['identity_sequence']}")
    generated = f"GENERATED {always.upper()} AS IDENTITY"
    return f"{generated} ({' '.join(options)})" if options else generated


def alter_action(change: ObjectChange) -> str:
    """Return the action of ALTER COLUMN that adds or changes the identity."""
    if not change.before.get("identity"):
        return f"ADD {clause(change.key, change.after)}"
    (before, *old), (after, *new) = (split_field(text) for text in change.values("identity"))
    actions = [f"SET GENERATED {after.upper()}"] if before != after else []
    kept = {option.split()[0] for option in new}
    actions += [_DEFAULTS[word] for word in (option.split()[0] for option in old) if word not in kept]
    actions += [f"SET {option}" for option in new if option not in old]
    return " ".join(actions)


def with_initial_privileges(change: ObjectChange, *, new: bool) -> ObjectChange:
    """Return the change with the privileges that a new sequence gets from ALTER DEFAULT PRIVILEGES."""
    if not change.after.get("identity") or (change.before.get("identity") and not new):
        return change
    creator, _ = _owners(change)
    initial = attributes.initial_privileges("SEQUENCE", creator, change)
    if initial == attributes.default_privileges("SEQUENCE", creator, change.major):
        return change
    return replace(change, before={**change.before, "sequence_acl": attributes.format_acl(initial)})


def _owners(change: ObjectChange) -> tuple[str, str]:
    """Return the owner of the table, and so of the sequence, before and after the change."""
    before, after = (catalog.value(change.owner, "owner") for catalog in (change.existing, change.catalog))
    return before or OWNER, after or OWNER


def _sequence_name(change: ObjectChange, fields: Fields) -> str:
    _, table, column = split_identity(change.key.identity)
    return fields.get("identity_sequence") or quote_if_needed(f"{unquote(table)}_{unquote(column)}_seq")


def _sequence(change: ObjectChange, fields: Fields) -> str:
    return f"{schema_of(change.key.identity)}.{_sequence_name(change, fields)}"


def alter_sequence(change: ObjectChange) -> Iterator[str]:
    """Yield the changes of the sequence of an identity; one that is dropped with its identity needs none."""
    if not change.after.get("identity"):
        return
    sequence = _sequence(change, change.after)
    if change.differs("identity_sequence") and change.before.get("identity"):
        name = _sequence_name(change, change.after)
        yield f"ALTER SEQUENCE {_sequence(change, change.before)} RENAME TO {name}"
    if change.differs("sequence_acl"):
        owners = _owners(change)
        before, after = (
            attributes.parse_or_default(acl, "SEQUENCE", owner, change.major)
            for acl, owner in zip(change.values("sequence_acl"), owners, strict=True)
        )
        before = attributes.after_owner_change(before, *owners)
        yield from attributes.grant_commands(f"SEQUENCE {sequence}", before, after)
    if change.differs("sequence_comment"):
        yield comment_on(f"SEQUENCE {sequence}", change.after.get("sequence_comment"))
    if change.differs("sequence_persistence"):
        # Without a value, the sequence has the persistence of its table.
        default = "unlogged" if change.catalog.value(change.owner, "persistence") else "logged"
        persistence = change.after.get("sequence_persistence") or default
        yield f"ALTER SEQUENCE {sequence} SET {persistence.upper()}"


SEQUENCE_FIELDS = ("identity_sequence", "sequence_acl", "sequence_comment", "sequence_persistence")
"""Fields of a column that `alter_sequence` writes."""
