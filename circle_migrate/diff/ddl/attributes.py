"""Attributes of objects of all kinds: owner, privileges, comment."""

import re
from collections.abc import Iterator, Mapping

from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.kind import ObjectChange, ObjectKind
from circle_migrate.diff.ddl.statement import comment_on
from circle_migrate.diff.scope import MAINTAIN_SINCE
from circle_migrate.postgres.catalog.read import OWNER
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.identifier import IDENTIFIER, base_name, schema_of, split_lines

LINE = re.compile(rf"({IDENTIFIER}|<owner>): (.*?)(?: by ({IDENTIFIER}|<owner>))?")
"""A line of an access control list: role, privileges, and the grantor if it is not the owner."""

# Privileges that acldefault() gives the owner of a new object, some also to PUBLIC, by the noun of GRANT.
# https://www.postgresql.org/docs/current/ddl-priv.html
_OWNER_DEFAULTS = {
    "TABLE": "INSERT, SELECT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER",
    "SEQUENCE": "SELECT, UPDATE, USAGE",
    "FUNCTION": "EXECUTE",
    "PROCEDURE": "EXECUTE",
    "SCHEMA": "USAGE, CREATE",
    "TYPE": "USAGE",
    "LANGUAGE": "USAGE",
    "FOREIGN DATA WRAPPER": "USAGE",
    "FOREIGN SERVER": "USAGE",
    "LARGE OBJECT": "SELECT, UPDATE",
}
_GRANTED_TO_PUBLIC = {"FUNCTION", "PROCEDURE", "TYPE", "LANGUAGE"}

Privileges = Mapping[str, Mapping[str, bool]]
"""The privileges of each role, with True for those it may grant (WITH GRANT OPTION)."""


def sql_role(role: str) -> str:
    """Return a role as SQL; the owner of the version table is the role that runs the script."""
    return {"public": "PUBLIC", OWNER: "CURRENT_USER"}.get(role, role)


def parse_acl(acl: str | None) -> Privileges:
    """Return the privileges of an access control list with a line `role: PRIVILEGE, PRIVILEGE*` per role."""
    privileges: dict[str, dict[str, bool]] = {}
    for line in split_lines(acl):
        match = LINE.fullmatch(line)
        if match is not None:
            granted = privileges.setdefault(match[1], {})
            items = filter(None, match[2].split(", "))
            granted.update((item.rstrip("*"), item.endswith("*")) for item in items)
    return privileges


def default_privileges(noun: str, owner: str, major: int) -> Privileges:
    """Return the built-in privileges of a new object."""
    names = _OWNER_DEFAULTS[noun].split(", ")
    if noun == "TABLE" and major >= MAINTAIN_SINCE:
        names.append("MAINTAIN")
    grantees = [owner, "public"] if noun in _GRANTED_TO_PUBLIC else [owner]
    return {grantee: dict.fromkeys(names, False) for grantee in grantees}


def parse_or_default(acl: str | None, noun: str, owner: str, major: int) -> Privileges:
    """Return the privileges of an object, which without a list (None) are the built-in ones."""
    return default_privileges(noun, owner, major) if acl is None else parse_acl(acl)


def initial_privileges(noun: str, creator: str, change: ObjectChange) -> Privileges:
    """Return the privileges of an object that `creator` creates, with those of ALTER DEFAULT PRIVILEGES."""
    nouns = f"{noun.replace('PROCEDURE', 'FUNCTION').lower()}s"
    for_all, for_schema = (
        change.existing.value(ObjectKey("default privileges", f"{creator}.{schema}{nouns}"), "acl")
        for schema in ("", f"{schema_of(change.key.identity)}.")
    )
    privileges = parse_or_default(for_all, noun, creator, change.major)
    merged = {role: dict(granted) for role, granted in privileges.items()}
    for role, granted in parse_acl(for_schema).items():
        merged.setdefault(role, {}).update(granted)
    return merged


def format_acl(privileges: Privileges) -> str:
    """Return the access control list as a snapshot has it."""
    return "\n".join(
        f"{role}: {', '.join(name + '*' * option for name, option in granted.items())}"
        for role, granted in sorted(privileges.items())
    )


def after_owner_change(privileges: Privileges, before: str, after: str) -> Privileges:
    """Return the privileges after ALTER ... OWNER TO: those of the old owner pass to the new one."""
    changed = {role: granted for role, granted in privileges.items() if role != before}
    if before in privileges:
        changed[after] = {**privileges.get(after, {}), **privileges[before]}
    return changed


def grant_commands(on: str, before: Privileges, after: Privileges, columns: str = "") -> Iterator[str]:
    """Yield the commands that change one list into the other; `on` and `columns` are words of GRANT."""
    for role in sorted(before.keys() | after.keys()):
        old, new = before.get(role, {}), after.get(role, {})
        commands = {
            "REVOKE {} FROM {}": [name for name in old if name not in new],
            "REVOKE GRANT OPTION FOR {} FROM {}": [name for name in new if old.get(name) and not new[name]],
            "GRANT {} TO {}": [name for name in new if name not in old and not new[name]],
            "GRANT {} TO {} WITH GRANT OPTION": [name for name in new if new[name] and not old.get(name)],
        }
        for template, names in commands.items():
            if names:
                privileges = ", ".join(name + columns for name in names)
                yield template.format(f"{privileges} ON {on}", sql_role(role))


FIELDS = frozenset({"comment", "owner", "acl"})


def initial_fields(kind: ObjectKind, key: ObjectKey, after: Catalog) -> dict[str, str | None]:
    """Return the fields of an object after its CREATE by the owner of the version table."""
    target = after.objects[key]
    fields = {name: target.get(name) for name in kind.covers | kind.follows | {"of"}}
    fields.update(kind.defaults)
    if "owner" in target:
        fields["owner"] = OWNER
    return {name: value for name, value in fields.items() if value is not None}


def commands(kind: ObjectKind, change: ObjectChange, *, new: bool) -> Iterator[str]:
    """Yield the commands for the owner, the privileges, which depend on the owner, and the comment."""
    key, name = change.key, kind.name(change.key, change.after)
    owner = change.after.get("owner")
    # The owner of a sequence that a column keeps is that of the table; OWNED BY requires the same owner.
    follows_table = key.kind == "sequence" and not new and not change.differs("owned_by")
    if owner and change.differs("owner") and not (follows_table and change.after.get("owned_by")):
        yield f"ALTER {kind.noun} {name} OWNER TO {sql_role(owner)}"
    if kind.grant is not None and ("acl" in change.after or "acl" in change.before):
        on, columns = f"{kind.grant} {key.identity}", ""
        if key.kind == "column":
            on, columns = f"TABLE {change.owner.identity}", f" ({base_name(key.identity)})"
        before, after = _current_privileges(kind, change, new=new), parse_acl(change.after.get("acl"))
        yield from grant_commands(on, before, after, columns)
    if change.differs("comment"):
        yield comment_on(f"{kind.noun} {name}", change.after.get("comment"))


def unsupported_grants(change: ObjectChange, field: str = "acl", label: str = "privileges") -> str | None:
    """Return the privileges that no command of the owner can change; None if there are none."""
    matches = (map(LINE.fullmatch, split_lines(acl)) for acl in change.values(field))
    before, after = ({match[0] for match in side if match and match[3]} for side in matches)
    return f"{label} granted by other roles than the owner" if before != after else None


def _current_privileges(kind: ObjectKind, change: ObjectChange, *, new: bool) -> Privileges:
    """Return the privileges after the change of owner, before GRANT and REVOKE."""
    before, after = (owner or OWNER for owner in change.values("owner"))
    if not new:
        return after_owner_change(parse_acl(change.before.get("acl")), before, after)
    if change.key.kind == "column":
        return {}
    return after_owner_change(initial_privileges(kind.grant or "", OWNER, change), OWNER, after)
