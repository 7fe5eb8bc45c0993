"""Privileges: access control lists as a snapshot has them, and the GRANT and REVOKE between two of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.scope import MAINTAIN_SINCE
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.identifier import split_lines

OWNER = "<owner>"
"""How snapshots write the role that owns the version table."""

LINE = re.compile(r'("(?:[^"]|"")*"|<owner>|[^":]+): (.*?)(?: by ("(?:[^"]|"")*"|<owner>|\w+))?')
"""A line of an access control list: the role, its privileges, and who granted them if not the owner."""

# What acldefault() gives the owner, and PUBLIC, of a new object; by the noun of GRANT.
# https://www.postgresql.org/docs/current/ddl-priv.html
_OWNERS = {
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
# What default privileges call the objects that GRANT has these nouns for.
_DEFAULTS_FOR = {
    "TABLE": "tables",
    "SEQUENCE": "sequences",
    "FUNCTION": "functions",
    "PROCEDURE": "functions",
    "TYPE": "types",
    "SCHEMA": "schemas",
}
_PUBLIC = {"FUNCTION": "EXECUTE", "PROCEDURE": "EXECUTE", "TYPE": "USAGE", "LANGUAGE": "USAGE"}

Privileges = Mapping[str, Mapping[str, bool]]
"""Per role, the privileges it has and whether it may grant them on."""


@dataclass(frozen=True, slots=True)
class Grantable:
    """What privileges are given on: the words between ON and TO, and a column where it is one."""

    noun: str
    name: str
    column: str | None = None

    def command(self, verb: str, privileges: list[str], role: str, *, option: bool = False) -> str:
        """A GRANT or REVOKE of these privileges, or of the option to grant them on."""
        columns = f" ({self.column})" if self.column else ""
        words = ", ".join(privilege + columns for privilege in privileges)
        target = " ".join(filter(None, [self.noun, self.name]))
        if verb == "GRANT":
            return f"GRANT {words} ON {target} TO {sql_role(role)}{' WITH GRANT OPTION' if option else ''}"
        return f"REVOKE {'GRANT OPTION FOR ' if option else ''}{words} ON {target} FROM {sql_role(role)}"


def sql_role(role: str) -> str:
    """A role as SQL: the owner is whoever runs the statements."""
    if role == "public":
        return "PUBLIC"
    return "CURRENT_USER" if role == OWNER else role


def parse(acl: str | None) -> Privileges:
    """An access control list, one `role: PRIVILEGE, PRIVILEGE*` per line."""
    found: dict[str, dict[str, bool]] = {}
    for line in split_lines(acl):
        match = LINE.fullmatch(line)
        if match is not None:
            held = found.setdefault(match[1], {})
            held.update({each.rstrip("*"): each.endswith("*") for each in match[2].split(", ") if each})
    return found


def granted_by_others(acl: str | None) -> frozenset[str]:
    """What somebody else than the owner granted, which no statement of the owner's repeats or takes back."""
    found = ((line, LINE.fullmatch(line)) for line in split_lines(acl))
    return frozenset(line for line, match in found if match is not None and match[3])


def default(noun: str, owner: str, major: int) -> Privileges:
    """What a new object of a kind has where no default privileges say otherwise."""
    words = _OWNERS[noun].split(", ")
    if noun == "TABLE" and major >= MAINTAIN_SINCE:
        words.append("MAINTAIN")
    found = {owner: dict.fromkeys(words, False)}
    if noun in _PUBLIC:
        found["public"] = {_PUBLIC[noun]: False}
    return found


def born(noun: str, schema: str, creator: str, existing: Catalog, major: int) -> Privileges:
    """What an object has that a role makes in a schema: ALTER DEFAULT PRIVILEGES may have given more."""
    made = default(noun, creator, major)
    word = _DEFAULTS_FOR.get(noun)
    everywhere = ObjectKey("default privileges", f"{creator}.{word}")
    if everywhere in existing:
        made = parse(existing.value(everywhere, "acl"))
    there = ObjectKey("default privileges", f"{creator}.{schema}.{word}")
    merged = {role: dict(held) for role, held in made.items()}
    for role, held in parse(existing.value(there, "acl")).items():
        merged.setdefault(role, {}).update(held)
    return merged


def text(privileges: Privileges) -> str:
    """An access control list as a snapshot has it."""
    words = {
        role: ", ".join(name + "*" * option for name, option in held.items())
        for role, held in privileges.items()
    }
    return "\n".join(f"{role}: {held}" for role, held in sorted(words.items()))


def handed_over(privileges: Privileges, before: str, after: str) -> Privileges:
    """The same after a change of owner: the new one has what the old one had."""
    moved = {role: held for role, held in privileges.items() if role != before}
    if before in privileges:
        moved[after] = {**privileges.get(after, {}), **privileges[before]}
    return moved


def change(on: Grantable, before: Privileges, after: Privileges) -> Iterator[str]:
    """The commands from one list to the other."""
    for role in sorted(before.keys() | after.keys()):
        had, has = before.get(role, {}), after.get(role, {})
        gone = [each for each in had if each not in has]
        less = [ha for ha in has if had.get(ha) and not has[ha]]
        new = [ha for ha in has if ha not in had and not has[ha]]
        more = [ha for ha in has if has[ha] and not had.get(ha)]
        if gone:
            yield on.command("REVOKE", gone, role)
        if less:
            yield on.command("REVOKE", less, role, option=True)
        if new:
            yield on.command("GRANT", new, role)
        if more:
            yield on.command("GRANT", more, role, option=True)
