"""Attributes of objects of all kinds: owner, privileges, comment."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.diff.ddl import privilege
from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.kind import ObjectChange, ObjectKind, comment_on
from circle_migrate.diff.ddl.privilege import OWNER, Grantable, Privileges
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.identifier import base_name, schema_of

NAMES = frozenset({"comment", "owner", "acl"})


def initial_fields(kind: ObjectKind, key: ObjectKey, after: Catalog) -> dict[str, str | None]:
    """Return the fields of an object after its CREATE by the owner of the version table."""
    target = after.objects[key]
    fields = {name: target.get(name) for name in kind.covers | kind.follows | {"of"}}
    fields.update(kind.defaults)
    if kind.owned and "owner" in target:
        fields["owner"] = OWNER
    return {name: value for name, value in fields.items() if value is not None}


def commands(kind: ObjectKind, change: ObjectChange, *, new: bool) -> Iterator[str]:
    """Yield the commands for the owner, the privileges, which depend on the owner, and the comment."""
    owner = change.after.get("owner")
    belongs_to_column = change.key.kind == "sequence" and change.after.get("owned_by")
    if kind.owned and owner and change.differs("owner") and not belongs_to_column:
        noun = "TABLE" if change.key.kind == "table" else kind.noun
        yield f"ALTER {noun} {kind.name(change.key, change.after)} OWNER TO {privilege.sql_role(owner)}"
    if kind.grant is not None and ("acl" in change.after or "acl" in change.before):
        before, after = _current_privileges(kind, change, new=new), privilege.parse(change.after.get("acl"))
        yield from privilege.grant_commands(_grantable(kind, change.key), before, after)
    if change.differs("comment"):
        yield comment_on(f"{kind.noun} {kind.name(change.key, change.after)}", change.after.get("comment"))


def _grantable(kind: ObjectKind, key: ObjectKey) -> Grantable:
    if key.kind == "column":
        name = base_name(key.identity)
        return Grantable("TABLE", key.identity.removesuffix(f".{name}"), name)
    return Grantable(kind.grant or kind.noun, key.identity)


def unsupported(change: ObjectChange, field: str = "acl", label: str = "privileges") -> str | None:
    """Return the privileges that no command of the owner can change; None if there are none."""
    before, after = (privilege.granted_by_others(acl) for acl in change.values(field))
    return f"{label} granted by other roles than the owner" if before != after else None


def _current_privileges(kind: ObjectKind, change: ObjectChange, *, new: bool) -> Privileges:
    """Return the privileges after the change of owner, before GRANT and REVOKE."""
    before, after = (owner or OWNER for owner in change.values("owner"))
    if not new:
        return privilege.after_owner_change(privilege.parse(change.before.get("acl")), before, after)
    if change.key.kind == "column":
        return {}
    schema = schema_of(change.key.identity)
    initial = privilege.initial_privileges(kind.grant or "", schema, OWNER, change.existing, change.major)
    return privilege.after_owner_change(initial, OWNER, after)
