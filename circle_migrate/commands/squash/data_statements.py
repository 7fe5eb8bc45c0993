"""Statements of revisions that write rows, which cannot be derived from two catalogs."""

from collections.abc import Iterable, Iterator
from os.path import relpath

import asyncpg

from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.journal_tables import OWN_SCHEMAS, OWN_TABLES
from circle_migrate.postgres.sql_text import compile_pattern, one_line
from circle_migrate.safety.trace.record import TracedStatement

_WRITES = compile_pattern(r"\s*(?:--[^\n]*\n\s*)*(?:INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE)\b")
_NESTS = compile_pattern(r"\s*(?:--[^\n]*\n\s*)*(?:DO|WITH|CALL|EXECUTE)\b")
_NESTED = compile_pattern(
    r"\b(?:INSERT\s+INTO|UPDATE\s+\S+|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE|EXECUTE|CALL)\b"
)

_RELATIONS = f"""
SELECT n.nspname AS schema, c.relname AS name, c.relkind = 'S' AS is_sequence
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relkind IN ('r', 'S') AND n.nspname NOT IN {OWN_SCHEMAS} AND n.nspname !~ '^(pg_|information_schema$)'
  AND NOT c.relname OPERATOR(pg_catalog.=) ANY ($1::text[]) ORDER BY 1, 2
"""  # noqa: S608 - constants


def data_statements(statements: Iterable[TracedStatement]) -> list[str]:
    """Return the statements that write rows, or whose rows the code reads and may write, with their lines."""
    return [
        f"{relpath(statement.file)}:{statement.line}: {one_line(statement.sql)}"
        for statement in statements
        if statement.file and _is_data(statement)
    ]


def _is_data(statement: TracedStatement) -> bool:
    nested = _NESTS.match(statement.sql) and _NESTED.search(statement.sql)
    return bool(_WRITES.match(statement.sql) or nested or statement.read_by_code is not None)


async def row_counts(connection: asyncpg.Connection, version_table: str) -> dict[str, int]:
    """Return the number of rows of each table, and the last value of each used sequence."""
    counts = {}
    for schema, name, is_sequence in await connection.fetch(_RELATIONS, [version_table, *OWN_TABLES]):
        relation = f"{quote(schema)}.{quote(name)}"
        what = "CASE WHEN is_called THEN last_value ELSE 0 END" if is_sequence else "count(*)"
        counts[relation] = await connection.fetchval(f"SELECT {what} FROM {relation}")  # noqa: S608 - quoted
    return counts


def changed_counts(before: dict[str, int], after: dict[str, int]) -> Iterator[str]:
    """Yield the relations that have another number of rows, those that only one side has without any."""
    for relation in sorted(before.keys() | after.keys()):
        first, second = before.get(relation, 0), after.get(relation, 0)
        if first != second and (relation in after or relation not in before):
            yield f"{relation} ({first} before, {second} after)"
