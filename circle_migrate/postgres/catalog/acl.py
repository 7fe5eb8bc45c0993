"""Access control lists in words: PostgreSQL's `role=arwd/grantor` as people read it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from circle_migrate.postgres.identifier import quote_if_needed, unquote

OWNER = "<owner>"
"""How the role that owns the version table is written: its name differs from server to server."""

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


def format_acl(items: Iterable[str], owner: str, of: str | None) -> str:
    """One line per grantee: `reader: SELECT, UPDATE*`; `*` may be passed on, PUBLIC is `public`.

    `owner` is the role to be written as `<owner>`, `of` the one the object belongs to: what somebody else
    has granted says ` by ROLE`.
    """
    return "\n".join(sorted(_line(item, owner, of) for item in items))


@lru_cache(maxsize=1024)
def _line(item: str, owner: str, of: str | None) -> str:
    match = _ITEM.fullmatch(item)
    if match is None:  # a form that no PostgreSQL we know prints is shown as it is rather than hidden
        return item
    grantee, letters, grantor = (unquote(match[1]), match[2], unquote(match[3]))
    granted = (_PRIVILEGES.get(letter, letter) + star for letter, star in re.findall(r"(\w)(\*?)", letters))
    by = "" if grantor == of else f" by {role(grantor, owner)}"
    return f"{role(grantee, owner) if grantee else 'public'}: {', '.join(granted)}{by}"


def role(name: str, owner: str) -> str:
    """A role as snapshots have it: `<owner>`, or its name, quoted where SQL needs that."""
    return OWNER if name == owner else quote_if_needed(name)
