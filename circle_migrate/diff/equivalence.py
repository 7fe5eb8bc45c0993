"""Decide whether two texts of a definition mean the same, by having PostgreSQL create and print both.

PostgreSQL does not always print a text as it read it: `IN` over varchar comes back from a dump with its casts
elsewhere, and PostgreSQL 16 leaves out qualifiers that 15 prints. Created in one database, texts that mean
the same are printed the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circle_migrate.diff.array_casts import cast_elements
from circle_migrate.diff.scope import EquivalenceAnswers
from circle_migrate.postgres.catalog.snapshot import Change, Fields, ObjectKey, Op, Snapshot
from circle_migrate.postgres.identifier import base_name

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import Database

_NAME = "circle_asked"
"""Name of every object that is created for a check."""

# Each check runs in a subtransaction that is rolled back, so that a failing one does not stop the others.
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
SELECT pg_temp.{_NAME}(ARRAY(SELECT jsonb_array_elements_text(form -> 'statements')), form ->> 'query')
FROM jsonb_array_elements($1::text::jsonb) WITH ORDINALITY AS forms (form, number) ORDER BY number
"""


@dataclass(frozen=True, slots=True)
class EquivalenceCheck:
    """Two texts of one field; `forms` are the statements that create each, `query` what reads it back."""

    key: ObjectKey
    field: str
    forms: tuple[tuple[str, ...], tuple[str, ...]]
    query: str


def checks_for(changes: Iterable[Change], before: Snapshot) -> tuple[EquivalenceCheck, ...]:
    """Return a check for each pair of texts that may mean the same."""
    checks = []
    for change in changes:
        if change.op is not Op.CHANGED:
            continue
        for field, (one, other) in change.fields.items():
            form = _FORMS.get((change.key.kind, field))
            if form is None or one is None or other is None:
                continue
            subject = _Subject(change.key, change.owner, before.objects[change.key])
            created = [form(subject, text) for text in (one, other)]
            if created[0] and created[1]:
                forms = (created[0].statements, created[1].statements)
                checks.append(EquivalenceCheck(change.key, field, forms, created[0].query))
    return tuple(checks)


def equal_by_text(checks: Iterable[EquivalenceCheck]) -> EquivalenceAnswers:
    """Return the texts that mean the same without a server: those that differ only in casts of arrays."""
    return {
        (check.key, check.field): True
        for check in checks
        if len({tuple(map(cast_elements, statements)) for statements in check.forms}) == 1
    }


async def equal_in_scratch(
    scratch: AbstractAsyncContextManager[Database], checks: Iterable[EquivalenceCheck]
) -> EquivalenceAnswers:
    """Return what `equal_by_server` returns in a scratch database. Raises why there is none."""
    async with scratch as database:
        connection = await database.connect()
        try:
            return await equal_by_server(connection, checks)
        finally:
            connection.terminate()


async def equal_by_server(
    connection: asyncpg.Connection, checks: Iterable[EquivalenceCheck]
) -> EquivalenceAnswers:
    """Compare what PostgreSQL prints, in one round trip; no answer for a text that it cannot create there.

    The database must have the tables, types and functions that the texts name. Nothing is left behind.
    """
    checks = tuple(checks)
    forms = [
        {"statements": statements, "query": check.query} for check in checks for statements in check.forms
    ]
    transaction = connection.transaction()
    await transaction.start()
    try:
        # As snapshots are taken: with every name qualified.
        await connection.execute("SET LOCAL search_path = pg_catalog;" + _PRINTER)
        printed = [row[0] for row in await connection.fetch(_PRINT, json.dumps(forms))]
    finally:
        await transaction.rollback()
    return {
        (check.key, check.field): one == other
        for check, one, other in zip(checks, printed[::2], printed[1::2], strict=True)
        if one is not None and other is not None
    }


@dataclass(frozen=True, slots=True)
class _Subject:
    key: ObjectKey
    owner: ObjectKey | None
    fields: Fields

    @property
    def table(self) -> str:
        return self.owner.identity if self.owner else ""

    @property
    def regclass(self) -> str:
        return "'" + self.table.replace("'", "''") + "'::regclass"

    @property
    def temporary_name(self) -> str:
        """The name of what is created, in the schema of the subject."""
        return self.key.identity.removesuffix(base_name(self.key.identity)) + _NAME


@dataclass(frozen=True, slots=True)
class _Created:
    statements: tuple[str, ...]
    query: str


_Form = Callable[[_Subject, str], _Created | None]

_PRINTED_DEFAULT = (
    "SELECT a.attgenerated::text || pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d "
    "JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum "
    f"WHERE d.adrelid = 'pg_temp.{_NAME}'::regclass"
)


def _constraint(subject: _Subject, text: str) -> _Created | None:
    if subject.fields.get("type") not in ("check", "exclusion"):
        return None  # of names alone, which have one form
    return _Created(
        (f"ALTER TABLE {subject.table} ADD CONSTRAINT {_NAME} {text}",),
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        f"WHERE conname = '{_NAME}' AND conrelid = {subject.regclass}",
    )


def _domain_constraint(subject: _Subject, text: str) -> _Created:
    return _Created(
        (f"ALTER DOMAIN {subject.table} ADD CONSTRAINT {_NAME} {text}",),
        f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{_NAME}' AND contypid <> 0",
    )


def _domain_default(subject: _Subject, text: str) -> _Created:
    return _Created(
        (f"CREATE DOMAIN pg_temp.{_NAME} AS {subject.fields.get('type')} DEFAULT {text}",),
        f"SELECT pg_get_expr(typdefaultbin, 0) FROM pg_type WHERE oid = 'pg_temp.{_NAME}'::regtype",
    )


def _default(subject: _Subject, text: str) -> _Created:
    column = base_name(subject.key.identity)
    return _Created(
        (
            f"CREATE TEMPORARY TABLE {_NAME} (LIKE {subject.table})",
            f"ALTER TABLE pg_temp.{_NAME} ALTER COLUMN {column} SET DEFAULT {text}",
        ),
        _PRINTED_DEFAULT,
    )


def _generated(subject: _Subject, text: str) -> _Created:
    return _Created(
        (
            f"CREATE TEMPORARY TABLE {_NAME} (LIKE {subject.table})",
            f"ALTER TABLE pg_temp.{_NAME} ADD COLUMN {_NAME} {subject.fields.get('type')} {text}",
        ),
        _PRINTED_DEFAULT,
    )


def _view(subject: _Subject, text: str) -> _Created:
    name = subject.temporary_name.replace("'", "''")
    return _Created(
        (f"CREATE VIEW {subject.temporary_name} AS {text}",), f"SELECT pg_get_viewdef('{name}'::regclass)"
    )


def _policy(subject: _Subject, text: str) -> _Created:
    return _Created(
        (f"CREATE POLICY {_NAME} ON {subject.table} USING ({text})",),
        "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy "
        f"WHERE polname = '{_NAME}' AND polrelid = {subject.regclass}",
    )


def _renamed(word: str, query: str, *, qualified: bool = False) -> _Form:
    """The form of a definition that is a whole statement: the same one, under our name."""

    def form(subject: _Subject, text: str) -> _Created | None:
        own, ours = base_name(subject.key.identity), _NAME
        if qualified:
            own, ours = subject.key.identity, subject.temporary_name
        statement, count = re.subn(rf"\b{word} {re.escape(own)} ", lambda _: f"{word} {ours} ", text, count=1)
        name = subject.temporary_name.replace("'", "''")
        printed = query.format(name=_NAME, table=subject.regclass, temporary_name=f"'{name}'::regclass")
        return _Created((statement,), printed) if count else None

    return form


_FORMS: Mapping[tuple[str, str], _Form] = {
    ("constraint", "definition"): _constraint,
    ("domain constraint", "definition"): _domain_constraint,
    ("domain", "default"): _domain_default,
    ("column", "default"): _default,
    ("column", "generated"): _generated,
    ("view", "definition"): _view,
    ("materialized view", "definition"): _view,
    ("policy", "using"): _policy,
    ("policy", "check"): _policy,
    ("index", "definition"): _renamed("INDEX", "SELECT pg_get_indexdef({temporary_name})"),
    ("trigger", "definition"): _renamed(
        "TRIGGER",
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = '{name}' AND tgrelid = {table}",
    ),
    ("rule", "definition"): _renamed(
        "RULE",
        "SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename = '{name}' AND ev_class = {table}",
    ),
    ("statistics", "definition"): _renamed(
        "STATISTICS",
        "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext "
        "WHERE stxname = '{name}' AND stxrelid = {table}",
        qualified=True,
    ),
}
"""How each text is created again; other fields are names and words, which have one form."""
