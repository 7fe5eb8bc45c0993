"""Identity columns and their sequences, which are no objects of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from circle_migrate.diff.ddl import privilege
from circle_migrate.diff.ddl.identifiers import listed
from circle_migrate.diff.ddl.kind import Commands, ObjectChange, comment_on
from circle_migrate.diff.ddl.privilege import OWNER, Grantable, Privileges
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
    """What makes a column an identity column, as CREATE TABLE has it."""
    always, *options = listed(fields.get("identity"))
    if fields.get("identity_sequence"):
        options.insert(0, f"SEQUENCE NAME {schema_of(key.identity)}.{fields['identity_sequence']}")
    words = f"GENERATED {always.upper()} AS IDENTITY"
    return f"{words} ({' '.join(options)})" if options else words


def change(step: ObjectChange) -> str:
    """What stands behind ALTER COLUMN and the name to make the column's identity what it should be."""
    if not step.before.get("identity"):
        return f"ADD {clause(step.key, step.after)}"
    (before, *had), (after, *has) = (listed(text) for text in step.change("identity"))
    changes = [f"SET GENERATED {after.upper()}"] if before != after else []
    kept = {option.split()[0] for option in has}
    changes += [_DEFAULTS[word] for word in (option.split()[0] for option in had) if word not in kept]
    changes += [f"SET {option}" for option in has if option not in had]
    return " ".join(changes)


def with_born_privileges(step: ObjectChange, *, new: bool) -> ObjectChange:
    """The step from what default privileges give the column's sequence, where that is made on the way."""
    if not step.after.get("identity") or (step.before.get("identity") and not new):
        return step
    creator = _owner(step)[0]
    given = privilege.born(
        "SEQUENCE", split_identity(step.key.identity)[0], creator, step.existing, step.major
    )
    if given == privilege.default("SEQUENCE", creator, step.major):
        return step
    return replace(step, before={**step.before, "sequence_acl": privilege.text(given)})


def _owner(step: ObjectChange) -> tuple[str, str]:
    """Whose the table, and with it the sequence, is on both sides; a new table is made by `<owner>`."""
    before, after = (catalog.value(step.owner, "owner") for catalog in (step.existing, step.catalog))
    return before or OWNER, after or OWNER


def _named(step: ObjectChange, fields: Fields) -> str:
    _, table, column = split_identity(step.key.identity)
    return fields.get("identity_sequence") or quote_if_needed(f"{unquote(table)}_{unquote(column)}_seq")


def _sequence(step: ObjectChange) -> str:
    return f"{schema_of(step.key.identity)}.{_named(step, step.after)}"


def _rename(step: ObjectChange) -> Commands:
    if step.before.get("identity") and step.after.get("identity"):
        old = f"{schema_of(step.key.identity)}.{_named(step, step.before)}"
        yield f"ALTER SEQUENCE {old} RENAME TO {_named(step, step.after)}"


def _privileges(step: ObjectChange) -> Iterator[str]:
    """Where the sequence goes with its identity, so do its privileges."""
    if step.after.get("identity"):
        owners = _owner(step)
        before, after = (
            _held(acl, owner, step) for acl, owner in zip(step.change("sequence_acl"), owners, strict=True)
        )
        had = privilege.handed_over(before, *owners)
        yield from privilege.change(Grantable("SEQUENCE", _sequence(step)), had, after)


def _held(acl: str | None, owner: str, step: ObjectChange) -> Privileges:
    """The privileges that a field tells; without it, those of any sequence."""
    return privilege.default("SEQUENCE", owner, step.major) if acl is None else privilege.parse(acl)


def _comment(step: ObjectChange) -> Commands:
    if step.after.get("identity"):
        yield comment_on(f"SEQUENCE {_sequence(step)}", step.after.get("sequence_comment"))


def _persistence(step: ObjectChange) -> Commands:
    """Without a word of its own, that of the table."""
    if step.after.get("identity"):
        usual = "unlogged" if step.catalog.value(step.owner, "persistence") else "logged"
        wanted = step.after.get("sequence_persistence") or usual
        yield f"ALTER SEQUENCE {_sequence(step)} SET {wanted.upper()}"


ALTERS = {
    "identity_sequence": _rename,
    "sequence_acl": _privileges,
    "sequence_comment": _comment,
    "sequence_persistence": _persistence,
}
"""What changes the sequence behind an identity column."""


def unsupported(step: ObjectChange) -> str | None:
    """What of the sequence no statement of its owner's can reach."""
    before, after = (privilege.granted_by_others(acl) for acl in step.change("sequence_acl"))
    if before != after:
        return "privileges on its sequence granted by others than the owner"
    return None
