"""What objects of every kind have: comment, owner, privileges."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.diff.ddl import privilege
from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.kind import ObjectChange, ObjectKind, comment_on
from circle_migrate.diff.ddl.privilege import OWNER, Grantable, Privileges
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.identifier import base_name, split_identity

NAMES = frozenset({"comment", "owner", "acl"})


def initial(kind: ObjectKind, key: ObjectKey, after: Catalog) -> dict[str, str | None]:
    """An object as its CREATE leaves it, where the owner of the version table runs that."""
    fields = after.objects[key]
    made = {name: fields.get(name) for name in kind.covers | kind.follows | {"of"}}
    made.update(kind.born)
    if kind.owned and "owner" in fields:
        made["owner"] = OWNER
    return {name: value for name, value in made.items() if value is not None}


def commands(kind: ObjectKind, step: ObjectChange, *, new: bool) -> Iterator[str]:
    """Owner, then privileges, which follow the owner, then the comment."""
    owner = step.after.get("owner")
    if kind.owned and owner and step.before.get("owner") != owner and not _belongs_to_column(step):
        noun = "TABLE" if step.key.kind == "table" else kind.noun
        yield f"ALTER {noun} {kind.name(step.key, step.after)} OWNER TO {privilege.sql_role(owner)}"
    if kind.grant is not None and ("acl" in step.after or "acl" in step.before):
        target = grantable(kind, step.key)
        had = _held(kind, step, new=new)
        yield from privilege.change(target, had, privilege.parse(step.after.get("acl")))
    if step.before.get("comment") != step.after.get("comment"):
        yield comment_on(f"{kind.noun} {kind.name(step.key, step.after)}", step.after.get("comment"))


def grantable(kind: ObjectKind, key: ObjectKey) -> Grantable:
    """What GRANT calls an object."""
    if key.kind == "column":
        name = base_name(key.identity)
        return Grantable("TABLE", key.identity.removesuffix(f".{name}"), name)
    return Grantable(kind.grant or kind.noun, key.identity)


def lacking(step: ObjectChange) -> str | None:
    """What of them no statement of the owner's can reach."""
    before, after = (privilege.granted_by_others(acl) for acl in step.change("acl"))
    if before != after:
        return "privileges granted by others than the owner"
    return None


def _belongs_to_column(step: ObjectChange) -> bool:
    return step.key.kind == "sequence" and bool(step.after.get("owned_by"))


def _held(kind: ObjectKind, step: ObjectChange, *, new: bool) -> Privileges:
    """The privileges before GRANT and REVOKE, once the owner is the one wanted."""
    before, after = step.before.get("owner") or OWNER, step.after.get("owner") or OWNER
    if not new:
        return privilege.handed_over(privilege.parse(step.before.get("acl")), before, after)
    if step.key.kind == "column":
        return {}
    schema = split_identity(step.key.identity)[0]
    made = privilege.born(kind.grant or "", schema, OWNER, step.existing, step.major)
    return privilege.handed_over(made, OWNER, after)
