"""Decide whether two texts of a definition are equivalent: PostgreSQL creates both objects and prints them.

The same definition may be printed differently: `IN` over varchar has its casts elsewhere after a restore, and
PostgreSQL 16 omits qualifiers that 15 prints. Created in one database, equivalent texts are printed the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circle_migrate.diff.compare import CompareOptions, compare
from circle_migrate.diff.result import Comparison
from circle_migrate.diff.scope import ChangeSet, EquivalenceAnswers
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op, Snapshot
from circle_migrate.postgres.identifier import base_name, literal

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import Database

OpenScratch = Callable[[], "AbstractAsyncContextManager[Database]"]

_NAME = "circle_asked"
"""The name of the objects that the checks create."""

# Each text is created in a subtransaction that is rolled back, so that an error does not stop the others.
_PRINTER = f"""
CREATE FUNCTION pg_temp.{_NAME}(statements text[], query text) RETURNS text LANGUAGE plpgsql AS $body$
DECLARE
    statement text;
    printed text;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE query INTO printed;
    RAISE SQLSTATE 'CM001';
EXCEPTION
    WHEN SQLSTATE 'CM001' THEN RETURN printed;
    WHEN OTHERS THEN RETURN NULL;
END
$body$
"""
_PRINT = f"""
SELECT pg_temp.{_NAME}(ARRAY(SELECT jsonb_array_elements_text(item -> 'statements')), item ->> 'query')
FROM jsonb_array_elements($1::text::jsonb) WITH ORDINALITY AS items (item, number) ORDER BY number
"""

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_PLACEHOLDER = "\0{}\0"
_PLACEHOLDERS = re.compile("\0(\\d+)\0")
_TYPE = (
    r"(?:character varying|bit varying|double precision|(?:time|timestamp)(?:\(\d\))? with(?:out)? time zone"
    r"|[\w$.\0]+)(?:\(\d+(?:,-?\d+)?\))?"
)
# Not a function argument; without brackets inside, so that nested arrays are replaced first.
_CAST = re.compile(rf"(?<![\w$\0])\(ARRAY\[([^\[\]]+)\]\)::({_TYPE})\[\]")


@dataclass(frozen=True, slots=True)
class EquivalenceCheck:
    """Two texts of one field; `statements` create the object from each, `query` prints the result."""

    key: ObjectKey
    field: str
    statements: tuple[tuple[str, ...], tuple[str, ...]]
    query: str


def checks_for(changes: Iterable[Change], before: Snapshot) -> tuple[EquivalenceCheck, ...]:
    """Return a check for each pair of texts that may be equivalent."""
    checks = []
    for change in changes:
        for field, (old, new) in change.fields.items() if change.op is Op.CHANGED else ():
            query, *templates = _TEMPLATES.get((change.key.kind, field), ("",))
            type_ = before.objects[change.key].get("type")
            if not query or old is None or new is None:
                continue
            if change.key.kind == "constraint" and type_ not in ("check", "exclusion"):
                continue  # consists of names, which are printed in one form
            values = _template_values(change, type_)
            both = _statements(change, old, templates, values), _statements(change, new, templates, values)
            if all(both):
                checks.append(EquivalenceCheck(change.key, field, both, query.format(**values)))
    return tuple(checks)


def equal_by_text(checks: Iterable[EquivalenceCheck]) -> EquivalenceAnswers:
    """Return the texts that are equivalent without asking a server: they differ only in casts of arrays."""
    return {
        (check.key, check.field): True
        for check in checks
        if len({tuple(map(cast_elements, statements)) for statements in check.statements}) == 1
    }


async def compare_in_scratch(
    before: Snapshot, after: Snapshot, options: CompareOptions, open_scratch: OpenScratch
) -> Comparison:
    """Compare two snapshots; check in a scratch database which texts are equivalent."""

    async def answer(change_set: ChangeSet) -> EquivalenceAnswers:
        checks = checks_for(change_set.changes, before)
        return await equal_in_scratch(open_scratch(), checks) if checks else {}

    return await compare(before, after, options, answer)


async def equal_in_scratch(
    scratch: AbstractAsyncContextManager[Database], checks: Iterable[EquivalenceCheck]
) -> EquivalenceAnswers:
    """Run `equal_by_server` in a scratch database. Raises what creating it raises."""
    async with scratch as database, database.connected() as connection:
        return await equal_by_server(connection, checks)


async def equal_by_server(
    connection: asyncpg.Connection, checks: Iterable[EquivalenceCheck]
) -> EquivalenceAnswers:
    """Compare the printed texts, in one round trip; a text that cannot be created has no answer.

    The database must have the tables, types and functions that the texts name. All is rolled back.
    """
    checks = tuple(checks)
    items = [{"statements": sql, "query": check.query} for check in checks for sql in check.statements]
    transaction = connection.transaction()
    await transaction.start()
    try:
        # As for snapshots, so that every name is qualified.
        await connection.execute("SET LOCAL search_path = pg_catalog;" + _PRINTER)
        printed = [row[0] for row in await connection.fetch(_PRINT, json.dumps(items))]
    finally:
        await transaction.rollback()
    return {
        (check.key, check.field): old == new
        for check, old, new in zip(checks, printed[::2], printed[1::2], strict=True)
        if old is not None and new is not None
    }


def _statements(
    change: Change, text: str, templates: Iterable[str], values: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the statements that create an object from a text; none if the text does not contain its name."""
    statements = tuple(template.format(text=text, **values) for template in templates)
    if statements:
        return statements
    noun = change.key.kind.upper()
    old, new = (values["identity"], values["new"]) if noun == "STATISTICS" else (values["name"], _NAME)
    statement, count = re.subn(rf"\b{noun} {re.escape(old)} ", lambda _: f"{noun} {new} ", text, count=1)
    return (statement,) if count else ()


def _template_values(change: Change, type_: str | None) -> dict[str, str]:
    """Return the values of the templates; `new` is the temporary name in the schema of the object."""
    identity, table = change.key.identity, change.owner.identity if change.owner else ""
    name = base_name(identity)
    new = identity.removesuffix(name) + _NAME
    return {
        "identity": identity,
        "name": name,
        "new": new,
        "new_regclass": f"{literal(new)}::regclass",
        "table": table,
        "table_regclass": f"{literal(table)}::regclass",
        "type": str(type_),
    }


_DEFAULT = (
    (
        "SELECT a.attgenerated::text || pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d "
        "JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum "
        f"WHERE d.adrelid = 'pg_temp.{_NAME}'::regclass"
    ),
    f"CREATE TEMPORARY TABLE {_NAME} (LIKE {{table}})",
)


def _print(printed: str, catalog: str, name: str, table: str) -> str:
    """Return the query for an object that belongs to a table, by the columns of its catalog."""
    return f"SELECT {printed} FROM {catalog} WHERE {name} = '{_NAME}' AND {table} = {{table_regclass}}"


_VIEW = ("SELECT pg_get_viewdef({new_regclass})", "CREATE VIEW {new} AS {text}")
_POLICY = (
    _print("pg_get_expr(polqual, polrelid)", "pg_policy", "polname", "polrelid"),
    f"CREATE POLICY {_NAME} ON {{table}} USING ({{text}})",
)
_TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("constraint", "definition"): (
        _print("pg_get_constraintdef(oid)", "pg_constraint", "conname", "conrelid"),
        f"ALTER TABLE {{table}} ADD CONSTRAINT {_NAME} {{text}}",
    ),
    ("domain constraint", "definition"): (
        f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{_NAME}' AND contypid <> 0",
        f"ALTER DOMAIN {{table}} ADD CONSTRAINT {_NAME} {{text}}",
    ),
    ("domain", "default"): (
        f"SELECT pg_get_expr(typdefaultbin, 0) FROM pg_type WHERE oid = 'pg_temp.{_NAME}'::regtype",
        f"CREATE DOMAIN pg_temp.{_NAME} AS {{type}} DEFAULT {{text}}",
    ),
    ("column", "default"): (
        *_DEFAULT,
        f"ALTER TABLE pg_temp.{_NAME} ALTER COLUMN {{name}} SET DEFAULT {{text}}",
    ),
    ("column", "generated"): (*_DEFAULT, f"ALTER TABLE pg_temp.{_NAME} ADD COLUMN {_NAME} {{type}} {{text}}"),
    ("view", "definition"): _VIEW,
    ("materialized view", "definition"): _VIEW,
    ("policy", "using"): _POLICY,
    ("policy", "check"): _POLICY,
    ("index", "definition"): ("SELECT pg_get_indexdef({new_regclass})",),
    ("trigger", "definition"): (_print("pg_get_triggerdef(oid)", "pg_trigger", "tgname", "tgrelid"),),
    ("rule", "definition"): (_print("pg_get_ruledef(oid)", "pg_rewrite", "rulename", "ev_class"),),
    ("statistics", "definition"): (
        _print("pg_get_statisticsobjdef(oid)", "pg_statistic_ext", "stxname", "stxrelid"),
    ),
}
"""The query that prints a field, and templates of the statements that create the object from a text.

Without templates, the text is the statement, under another name. Other fields consist of names, which are
printed in one form.
"""


def cast_elements(text: str) -> str:
    """Return the text with the casts of array constructors moved to the elements.

    `s IN ('a', 'b')` over varchar is stored and printed as a cast of an array: `(ARRAY['a', 'b'])::text[]`.
    When this text is parsed, as from a dump, the cast moves to the elements: `ARRAY[('a')::text,
    ('b')::text]` (transformTypeCast in PostgreSQL's parse_expr.c).
    """
    quotations: list[str] = []

    def hide(match: re.Match[str]) -> str:
        quotations.append(match[0])
        return _PLACEHOLDER.format(len(quotations) - 1)

    text, count = _QUOTED.sub(hide, text), 1
    while count:
        text, count = _CAST.subn(_move_cast, text)
    return _PLACEHOLDERS.sub(lambda match: quotations[int(match[1])], text)


def _move_cast(match: re.Match[str]) -> str:
    return f"ARRAY[{', '.join(f'({element})::{match[2]}' for element in _elements(match[1]))}]"


def _elements(text: str) -> Iterator[str]:
    depth = start = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            yield text[start:position]
            start = position + 2
    yield text[start:]
