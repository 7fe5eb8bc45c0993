"""The queries of this package, one per file, for the version of a server; the transaction they run in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncpg

_NUMEROUS = ("column", "constraint", "index")
"""Kinds of which there are many objects: on their own their rows need not become JSON in between."""

# A file's first lines can say for which servers it is, and which catalogue has to hold something for it to
# find anything, since planning costs: most databases have no policies, nor operators of their own. Of some
# catalogues only rows count that came after initdb (`where pg_operator.oid`); the others begin empty.
_VERSIONS = re.compile(r"^-- (since|before) (\d+)$", re.MULTILINE)
_CATALOGUE = re.compile(r"^-- where (\w+)(?:\.(\w+))?$", re.MULTILINE)
# A line that ends with such words is left out where they do not hold.
_LINE = re.compile(r"\S -- (since|before|where) (\w+)$")
_WHERE = re.compile(r"-- where (\w+)$", re.MULTILINE)
_FIRST_OID = 16384
"""Of objects that did not come with the server (FirstNormalObjectId in its source)."""


class Statements(NamedTuple):
    """The statements that read a catalogue.

    Their parameters are the schema of the version table, the names of our tables in it, and the oid of the
    role that is written as `<owner>`. `tables` yield an object per row, `document` JSON arrays of objects.
    """

    tables: tuple[str, ...]
    document: str


@cache
def session_context() -> str:
    """What to ask first: schema, role and version to read with, and `used`: the catalogues with own rows.

    Its parameters are the version table and its schema or null.
    """
    limits = (_CATALOGUE.search(text) for text in _texts("sql").values())
    rare = sorted({limit.groups("") for limit in limits if limit})
    found = [
        f"SELECT '{name}' WHERE EXISTS (SELECT FROM pg_catalog.{name} WHERE {oid} >= {_FIRST_OID})"  # noqa: S608
        for name, oid in rare
        if oid
    ]
    found.append(_filled(name for name, oid in rare if not oid))
    text = _texts("sql/session")["session_context"]
    return f"SELECT place.*, ARRAY({' UNION ALL '.join(found)}) AS used FROM ({text}) place"  # noqa: S608


def _filled(catalogues: Iterable[str]) -> str:
    """A query that yields those which hold anything: far cheaper than to plan a query of each of them."""
    names = ", ".join(f"'{name}'" for name in catalogues)
    return (
        f"SELECT name FROM unnest(ARRAY[{names}]) name "  # noqa: S608
        "WHERE pg_relation_size(('pg_catalog.' || name)::regclass) > 0"
    )


@cache
def catalogue(major: int, used: frozenset[str]) -> Statements:
    """What to ask a server of this major version; `used` is what it said to `place`."""
    queries = {name: text for name, text in _read("sql", major).items() if _is_worth_asking(text, used)}
    scope = queries.pop("scope")
    tables = tuple(f"{scope}{queries.pop(name)}" for name in _NUMEROUS)
    return Statements(tables, scope + "\nUNION ALL\n".join(map(_as_json, queries.values())))


@cache
def object_ids_query() -> str:
    """One statement that yields a row per object: its kind, its name, and its address in three columns.

    Its parameters are those of `catalogue`.
    """
    return _texts("sql")["scope"] + _texts("sql/session")["object_ids"]


@cache
def row_versions() -> str:
    """One statement whose answer differs as soon as anything was committed that definitions come from."""
    return _texts("sql/session")["row_versions"]


def _as_json(query: str) -> str:
    return f"SELECT coalesce(json_agg(found)::text, '[]') FROM (\n{query}) found"  # noqa: S608


@cache
def nonempty_catalogs(major: int) -> str:
    """What to ask before `fingerprint`: an array of the catalogues that hold anything."""
    asked = fingerprint(major)
    return f"SELECT ARRAY({_filled(sorted(set(_WHERE.findall(asked))))})"


@cache
def fingerprint(major: int, used: frozenset[str] | None = None) -> str:
    """One statement that yields the sum of the hashes of all that makes up a schema.

    Its parameter is the names of our tables. `used` is what the server said to `filled`: without the empty
    catalogues the sum is the same. None stands for all.
    """
    queries = {
        name: text
        for name, text in _read("sql/fingerprint", major).items()
        if used is None or _is_worth_asking(text, used)
    }
    scope = queries.pop("scope")
    each = "\nUNION ALL\n".join(queries.values())
    asked = f"{scope}SELECT sum(hash)::text FROM (\n{each}) hashed (hash)"  # noqa: S608
    return "\n".join(line for line in asked.splitlines() if _holds(line, major, used))


def _holds(line: str, major: int, used: frozenset[str] | None) -> bool:
    limit = _LINE.search(line)
    if limit is None:
        return True
    word, what = limit.groups()
    if word == "where":
        return used is None or what in used
    return (major >= int(what)) == (word == "since")


def _read(folder: str, major: int) -> dict[str, str]:
    """The files that are for this version, by name without suffix."""
    return {name: text for name, text in _texts(folder).items() if _is_for(major, text)}


@cache
def _texts(folder: str) -> dict[str, str]:
    found = {}
    for file in (Path(__file__).parent / folder).iterdir():
        name, _, suffix = file.name.rpartition(".")
        if suffix == "sql":
            found[name] = file.read_text(encoding="utf-8")
    return dict(sorted(found.items()))


def _is_for(major: int, text: str) -> bool:
    limit = _VERSIONS.search(text)
    return limit is None or (major >= int(limit[2])) == (limit[1] == "since")


def _is_worth_asking(text: str, used: frozenset[str]) -> bool:
    catalogue = _CATALOGUE.search(text)
    return catalogue is None or catalogue[1] in used


# What changes how PostgreSQL prints a definition, and what keeps reading cheap: compiling these statements
# takes longer than running them, nested loops over catalogues whose size the planner guesses wrong are what
# makes thousands of tables slow, and the joins are written in an order that it need not look for.
_PINNED = {
    "search_path": "pg_catalog",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
    "lock_timeout": "2s",
    "jit": "off",
    "enable_nestloop": "off",
    "join_collapse_limit": "1",
}
PINS = "".join(f"SET LOCAL {name} = '{value}';" for name, value in _PINNED.items())
"""Set after whatever depends on the session's own search_path has been asked."""

# Statements, as the driver's own transactions do not nest in one that was begun by a statement.
_ALONE = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "ROLLBACK")
_NESTED = ("SAVEPOINT circle_view", "ROLLBACK TO circle_view; RELEASE circle_view")


@asynccontextmanager
async def read_transaction(connection: asyncpg.Connection, settings: str = "") -> AsyncIterator[None]:
    """A transaction that sees one state of the catalogue and writes nothing; a savepoint inside another one.

    It is rolled back at once, and its settings with it (`PINS`, or none yet): some locks last as long as
    their transaction.
    """
    begin, end = _NESTED if connection.is_in_transaction() else _ALONE
    await connection.execute(f"{begin};{settings}")
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute(end)
