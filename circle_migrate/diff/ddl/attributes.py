"""Attributes of objects of all kinds: owner, privileges, comment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.kind import ObjectChange, ObjectKind, comment_on
from circle_migrate.diff.scope import MAINTAIN_SINCE
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.identifier import base_name, schema_of, split_lines

OWNER = "<owner>"
"""Name in snapshots for the role that owns the version table."""

LINE = re.compile(r'("(?:[^"]|"")*"|<owner>|[^":]+): (.*?)(?: by ("(?:[^"]|"")*"|<owner>|\w+))?')
"""A line of an access control list: role, privileges, and the grantor if it is not the owner."""

# Privileges that acldefault() gives the owner of a new object, and PUBLIC, by the noun of GRANT.
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
# The noun of GRANT, and the noun of ALTER DEFAULT PRIVILEGES for it.
_DEFAULT_PRIVILEGES_NOUNS = {
    "TABLE": "tables",
    "SEQUENCE": "sequences",
    "FUNCTION": "functions",
    "PROCEDURE": "functions",
    "TYPE": "types",
    "SCHEMA": "schemas",
}
_PUBLIC_DEFAULTS = {"FUNCTION": "EXECUTE", "PROCEDURE": "EXECUTE", "TYPE": "USAGE", "LANGUAGE": "USAGE"}

Privileges = Mapping[str, Mapping[str, bool]]
"""The privileges of each role, with True for those it may grant (WITH GRANT OPTION)."""


@dataclass(frozen=True, slots=True)
class Grantable:
    """The target of a GRANT: the words between ON and TO, and the column of a column privilege."""

    noun: str
    name: str
    column: str | None = None

    def command(self, verb: str, privileges: list[str], role: str, *, option: bool = False) -> str:
        """Return the GRANT or REVOKE of these privileges, or of their grant option."""
        columns = f" ({self.column})" if self.column else ""
        privilege_list = ", ".join(privilege + columns for privilege in privileges)
        on = f"{privilege_list} ON {' '.join(filter(None, [self.noun, self.name]))}"
        if verb == "GRANT":
            return f"GRANT {on} TO {sql_role(role)}{' WITH GRANT OPTION' if option else ''}"
        return f"REVOKE {'GRANT OPTION FOR ' if option else ''}{on} FROM {sql_role(role)}"


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


def granted_by_others(acl: str | None) -> frozenset[str]:
    """Return the lines of grants by other roles, which the owner can neither repeat nor revoke."""
    matches = filter(None, map(LINE.fullmatch, split_lines(acl)))
    return frozenset(match[0] for match in matches if match[3])


def default_privileges(noun: str, owner: str, major: int) -> Privileges:
    """Return the built-in privileges of a new object."""
    names = _OWNER_DEFAULTS[noun].split(", ")
    if noun == "TABLE" and major >= MAINTAIN_SINCE:
        names.append("MAINTAIN")
    privileges = {owner: dict.fromkeys(names, False)}
    if noun in _PUBLIC_DEFAULTS:
        privileges["public"] = {_PUBLIC_DEFAULTS[noun]: False}
    return privileges


def initial_privileges(noun: str, schema: str, creator: str, existing: Catalog, major: int) -> Privileges:
    """Return the privileges of an object that `creator` creates, with those of ALTER DEFAULT PRIVILEGES."""
    word = _DEFAULT_PRIVILEGES_NOUNS.get(noun)
    for_all_schemas = ObjectKey("default privileges", f"{creator}.{word}")
    for_schema = ObjectKey("default privileges", f"{creator}.{schema}.{word}")
    privileges = (
        parse_acl(existing.value(for_all_schemas, "acl"))
        if for_all_schemas in existing
        else default_privileges(noun, creator, major)
    )
    merged = {role: dict(granted) for role, granted in privileges.items()}
    for role, granted in parse_acl(existing.value(for_schema, "acl")).items():
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


def grant_commands(target: Grantable, before: Privileges, after: Privileges) -> Iterator[str]:
    """Yield the commands that change one list into the other."""
    for role in sorted(before.keys() | after.keys()):
        old, new = before.get(role, {}), after.get(role, {})
        commands = (
            ("REVOKE", False, [name for name in old if name not in new]),
            ("REVOKE", True, [name for name in new if old.get(name) and not new[name]]),
            ("GRANT", False, [name for name in new if name not in old and not new[name]]),
            ("GRANT", True, [name for name in new if new[name] and not old.get(name)]),
        )
        for verb, option, names in commands:
            if names:
                yield target.command(verb, names, role, option=option)


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
        yield f"ALTER {noun} {kind.name(change.key, change.after)} OWNER TO {sql_role(owner)}"
    if kind.grant is not None and ("acl" in change.after or "acl" in change.before):
        before, after = _current_privileges(kind, change, new=new), parse_acl(change.after.get("acl"))
        yield from grant_commands(_grantable(kind, change.key), before, after)
    if change.differs("comment"):
        yield comment_on(f"{kind.noun} {kind.name(change.key, change.after)}", change.after.get("comment"))


def _grantable(kind: ObjectKind, key: ObjectKey) -> Grantable:
    if key.kind == "column":
        name = base_name(key.identity)
        return Grantable("TABLE", key.identity.removesuffix(f".{name}"), name)
    return Grantable(kind.grant or kind.noun, key.identity)


def unsupported_grants(change: ObjectChange, field: str = "acl", label: str = "privileges") -> str | None:
    """Return the privileges that no command of the owner can change; None if there are none."""
    before, after = (granted_by_others(acl) for acl in change.values(field))
    return f"{label} granted by other roles than the owner" if before != after else None


def _current_privileges(kind: ObjectKind, change: ObjectChange, *, new: bool) -> Privileges:
    """Return the privileges after the change of owner, before GRANT and REVOKE."""
    before, after = (owner or OWNER for owner in change.values("owner"))
    if not new:
        return after_owner_change(parse_acl(change.before.get("acl")), before, after)
    if change.key.kind == "column":
        return {}
    schema = schema_of(change.key.identity)
    initial = initial_privileges(kind.grant or "", schema, OWNER, change.existing, change.major)
    return after_owner_change(initial, OWNER, after)
