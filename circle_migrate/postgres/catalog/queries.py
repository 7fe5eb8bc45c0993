"""Catalog queries for the version of a server, and the transaction in which they run."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import asyncpg

from circle_migrate.postgres.identifier import FIRST_OID

_NUMEROUS = ("column", "constraint", "index")
"""Kinds with many objects, queried separately so that their rows need no conversion to JSON."""

_OF_RELATION = (
    *("column", "column_compression", "column_identity", "constraint", "index", "policy", "rule"),
    *("sequence", "statistics", "table", "trigger", "view"),
)
"""Kinds whose objects belong to a relation, or are one."""

_SEQUENCES = """
SELECT FROM pg_catalog.pg_sequence sequence
WHERE (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = sequence.seqrelid) <> ALL (ARRAY(
    SELECT oid FROM pg_catalog.pg_namespace WHERE nspname IN (
        'circle_kept', coalesce(current_setting('circle_migrate.journal_schema', true), 'circle_migrate')
    )
))"""
"""Sequences outside of our own schemas, whose tables have identity columns."""

_SIGNATURES = """
SELECT {used} AS used, current_user::text AS role, array_agg(relation) AS relations, array_agg(name) AS names,
       array_agg(versions) AS versions, array_agg(ids) AS ids
FROM signature"""

Execute = Callable[[str], Awaitable[object]]

_READ = """
SELECT json_build_object(
    'role', current_user, 'used', {used},
    'moved', (SELECT json_agg(json_build_array(oid::bigint, versions, ids, name)) FROM moved),
    'relations', (SELECT json_agg(oid::bigint) FROM changed),
    'whole', EXISTS (SELECT FROM dependent WHERE classid = 'pg_proc'::regclass)
)::text"""

# The first lines of a file can restrict it to versions of the server (`-- since 15`), and to databases in
# which a catalog has rows (`-- where pg_policy`), to save planning time. `-- where pg_operator.oid` counts
# only rows that were added after initdb; also at the end of a line.
_VERSIONS = re.compile(r"^-- (since|before) (\d+)$", re.MULTILINE)
_CATALOG = re.compile(r"^-- (where) (\w+)(?:\.(\w+))?$", re.MULTILINE)
# A line that ends with such a comment is omitted if the condition is false.
_CONDITION = re.compile(r"\S -- (since|before|where) (\w+)(?:\.oid)?$")
_WHERE = re.compile(r"-- where (\w+)$", re.MULTILINE)


class Statements(NamedTuple):
    """The statements that read a catalog.

    Their parameters are the schema of the version table, the names of our tables in it, and the oid of the
    role that is written as `<owner>`. `tables` return an object per row, `document` returns JSON arrays of
    objects.
    """

    tables: tuple[str, ...]
    document: str


@cache
def session_context() -> str:
    """Return the first query: schema, role, version, and `used`, the catalogs with rows of user objects.

    Its parameters are the version table, and its schema or null.
    """
    text = _texts("sql/session")["session_context"]
    return f"SELECT context.*, {_used(_limits())} AS used FROM ({text}) context"  # noqa: S608


def _used(catalogs: Collection[tuple[str, str]]) -> str:
    """Return the array of those of the catalogs, with their columns of the oid, that have rows of users."""
    rows = {
        name: f"SELECT FROM pg_catalog.{name} WHERE {oid} >= {FIRST_OID}" for name, oid in catalogs if oid
    }
    rows["pg_sequence"] = _SEQUENCES
    used = [f"SELECT '{name}' WHERE EXISTS ({rows[name]})" for name in sorted(rows)]
    used.append(_nonempty(sorted(name for name, _ in catalogs if name not in rows)))
    return f"ARRAY({' UNION ALL '.join(used)})"


@cache
def _limits(*folders: str) -> set[tuple[str, str]]:
    """Return the catalogs that restrict files, with the column of the oid or an empty text."""
    texts = chain.from_iterable(_texts(folder).values() for folder in folders or ("sql", "sql/signature"))
    limits = map(_CATALOG.search, texts)
    return {(limit[2], limit[3] or "") for limit in limits if limit}


@cache
def signed() -> frozenset[str]:
    """Return the catalogs that can restrict a file and have a part in signatures."""
    return frozenset({"pg_sequence", *(name for name, _ in _limits("sql/signature"))})


@cache
def _used_signed() -> str:
    """Return the array for catalogs with a part in signatures, or whose size says that they are not empty.

    Rows of the others are among those of no relation in signatures (`signature/others.sql`).
    """
    return _used({(name, oid) for name, oid in _limits() if not oid or name in signed()})


def _nonempty(catalogs: Iterable[str]) -> str:
    """Return a query for those catalogs that are not empty, which is cheaper than to query them."""
    names = ", ".join(f"'{name}'" for name in catalogs)
    return (
        f"SELECT name FROM unnest(ARRAY[{names}]) name "  # noqa: S608
        "WHERE pg_relation_size(('pg_catalog.' || name)::regclass) > 0"
    )


@cache
def catalog(major: int, used: frozenset[str]) -> Statements:
    """Return the statements for a major version; `used` is from the result of `session_context`."""
    queries = _applicable("sql", major, used)
    scope = f"WITH {queries.pop('scope')}"
    tables = tuple(f"{scope}{queries.pop(name)}" for name in _NUMEROUS)
    return Statements(tables, scope + _document(queries.values()))


def _document(queries: Iterable[str]) -> str:
    json = "SELECT coalesce(json_agg(catalog_row)::text, '[]') FROM (\n{}) catalog_row"
    return "\nUNION ALL\n".join(map(json.format, queries))


@cache
def signatures(major: int) -> str:
    """Return the query for the signatures of all relations, parameters as of `catalog`."""
    return f"WITH {_signature(major)}{_SIGNATURES.format(used=_used(_limits()))}"


def _signature(major: int, used: frozenset[str] | None = None) -> str:
    scope = _applicable("sql", major, frozenset())["scope"]
    queries = _applicable("sql/signature", major, used)
    place, rows = queries.pop("scope"), "UNION ALL\n".join(queries.values())
    catalog_row = f"catalog_row (relation, id, version, location) AS (\n{rows})"
    signed = _texts("sql/session")["signatures"]
    return f"signature AS MATERIALIZED (\nWITH {scope}, {place}, {catalog_row}, {signed})\n"


@cache
def changed_relations(major: int, used: frozenset[str]) -> str:
    """Return the query for the objects of changed relations as a document.

    `used` are the nonempty catalogs of those that can restrict a file, all of them `signed`. The parameters
    $4 and $5 are the relations and their signatures before. The last text has the changed signatures, what is
    used now, the ids of the relations that were read, and `whole` if others may have changed, too.
    """
    queries = _applicable("sql", major, used | {"changed"})
    changed, scope = _texts("sql/session")["changed"], queries.pop("scope")
    texts = [text for name, text in queries.items() if name in _OF_RELATION]
    read = _READ.format(used=_used_signed())
    return f"WITH {_signature(major, used)}, {changed}{scope}{_document(texts)}\nUNION ALL\n{read}"


def object_ids_query() -> str:
    """Return the query for kind, name and id (three columns) of objects, parameters as of `catalog`."""
    return f"WITH {_applicable('sql', 0, frozenset())['scope']}{_texts('sql/session')['object_ids']}"


def row_versions() -> str:
    """Return a query whose result changes with every commit that changes a definition."""
    return _texts("sql/session")["row_versions"]


@cache
def nonempty_catalogs(major: int) -> str:
    """Return the query for the array of catalogs with rows to hash, the parameter `used` of `fingerprint`.

    Every object outside pg_catalog depends on another, at least on its schema.
    """
    rare = sorted(set(_WHERE.findall(fingerprint(major))))
    dependent = f"SELECT classid::regclass::text FROM pg_depend WHERE objid >= {FIRST_OID}"  # noqa: S608
    return f"SELECT ARRAY({_nonempty(rare)} UNION {dependent})"


@cache
def fingerprint(major: int, used: frozenset[str] | None = None) -> str:
    """Return the query for the sum of the hashes of a schema's catalog rows.

    Its parameter is the names of our tables. `used` is the result of `nonempty_catalogs`, None for all
    catalogs; the sum does not depend on it.
    """
    queries = _applicable("sql/fingerprint", major, used)
    scope = queries.pop("scope")
    rows = "\nUNION ALL\n".join(queries.values())
    return f"{scope}SELECT sum(hash)::text FROM (\n{rows}) hashed (hash)"  # noqa: S608


def _applicable(folder: str, major: int, used: frozenset[str] | None) -> dict[str, str]:
    """Return the queries for this version and these nonempty catalogs, by file name without suffix."""
    return {
        name: "\n".join(line for line in text.split("\n") if _applies(_CONDITION.search(line), major, used))
        for name, text in _texts(folder).items()
        if _applies(_VERSIONS.search(text), major, used) and _applies(_CATALOG.search(text), major, used)
    }


def _applies(condition: re.Match[str] | None, major: int, used: frozenset[str] | None) -> bool:
    if condition is None:
        return True
    keyword, operand = condition.group(1, 2)
    if keyword == "where":
        return used is None or operand in used
    return (major >= int(operand)) == (keyword == "since")


@cache
def _texts(folder: str) -> dict[str, str]:
    return {
        file.stem: file.read_text(encoding="utf-8")
        for file in sorted((Path(__file__).parent / folder).glob("*.sql"))
    }


# Settings that affect how PostgreSQL prints definitions, and settings for speed: JIT compilation takes longer
# than these statements, nested loops are slow for thousands of tables (the planner misestimates catalogs),
# the joins are already written in the best order, and a prepared query has one plan for all its parameters.
_SETTINGS = {
    "search_path": "pg_catalog",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "lc_monetary": "C",
    "lock_timeout": "2s",
    "jit": "off",
    "enable_nestloop": "off",
    "join_collapse_limit": "1",
    "plan_cache_mode": "force_generic_plan",
}
PINS = "".join(f"SET LOCAL {name} = '{value}';" for name, value in _SETTINGS.items())
"""Executed after the queries that depend on the session's search_path."""

NESTED_LOOPS = f"{PINS}SET LOCAL enable_nestloop = on;"
"""The same before queries for few objects."""

# Statements, because transactions of asyncpg do not nest in one that was begun by a statement.
_TOP_LEVEL = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "ROLLBACK")
_NESTED = ("SAVEPOINT circle_view", "ROLLBACK TO circle_view; RELEASE circle_view")


@asynccontextmanager
async def read_transaction(
    connection: asyncpg.Connection, settings: str = "", execute_end: Execute | None = None
) -> AsyncIterator[None]:
    """Open a READ ONLY transaction with one snapshot, or a savepoint; its end rolls back its settings too."""
    begin, end = _NESTED if connection.is_in_transaction() else _TOP_LEVEL
    await connection.execute(f"{begin};{settings}")
    try:
        yield
    finally:
        if not connection.is_closed():
            await (execute_end or connection.execute)(end)
