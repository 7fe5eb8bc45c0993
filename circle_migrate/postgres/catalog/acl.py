"""Format PostgreSQL's access control lists (`role=arwd/grantor`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from circle_migrate.postgres.identifier import quote_if_needed, unquote

OWNER = "<owner>"
"""Placeholder for the owner of the version table, whose name differs between servers."""

# https://www.postgresql.org/docs/18/ddl-priv.html#PRIVILEGE-ABBREVS-TABLE
_PRIVILEGES = {
    "r": "SELECT",
    "a": "INSERT",
    "w": "UPDATE",
    "d": "DELETE",
    "D": "TRUNCATE",
    "x": "REFERENCES",
    "t": "TRIGGER",
    "m": "MAINTAIN",
    "X": "EXECUTE",
    "U": "USAGE",
    "C": "CREATE",
    "c": "CONNECT",
    "T": "TEMPORARY",
    "s": "SET",
    "A": "ALTER SYSTEM",
}
_NAME = r'"(?:[^"]|"")*"|[^"=/]*'
_ITEM = re.compile(rf"({_NAME})=([A-Za-z*]*)/({_NAME})", re.DOTALL)


def format_acl(items: Iterable[str], owner: str, object_owner: str | None) -> str:
    """Return a line per grantee: `reader: SELECT, UPDATE*`; `*` is the grant option, PUBLIC is `public`.

    `owner` is the role that is written as `<owner>`. Grants of other roles than `object_owner` end with ` by
    ROLE`.
    """
    return "\n".join(sorted(_format_item(item, owner, object_owner) for item in items))


@lru_cache(maxsize=1024)
def _format_item(item: str, owner: str, object_owner: str | None) -> str:
    match = _ITEM.fullmatch(item)
    if match is None:  # an unknown format is kept as it is
        return item
    grantee, letters, grantor = (unquote(match[1]), match[2], unquote(match[3]))
    granted = (_PRIVILEGES.get(letter, letter) + star for letter, star in re.findall(r"(\w)(\*?)", letters))
    by = "" if grantor == object_owner else f" by {role(grantor, owner)}"
    return f"{role(grantee, owner) if grantee else 'public'}: {', '.join(granted)}{by}"


def role(name: str, owner: str) -> str:
    """Return a role as in snapshots: `<owner>`, or its name, quoted if needed."""
    return OWNER if name == owner else quote_if_needed(name)
