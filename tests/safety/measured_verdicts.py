"""Measure what the migrations of verdict cases do to rows, to other sessions and to the running release.

The statements of the release are generated: they use each object of the schema, its privileges and defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.safety.measured_operations import PART, Effects, run_statement, values_of
from tests.safety.safety_cases import SafetyCase
from tests.safety.verdict_cases import ROWS

_LARGE = "SELECT oid::bigint FROM pg_class WHERE relkind IN ('r', 'm') AND reltuples >= $1 AND oid >= 16384"
_COLUMNS = """
SELECT c.oid::regclass::text AS relation, c.relkind::text AS kind, quote_ident(a.attname) AS name,
       format_type(a.atttypid, NULL) AS type, a.attnotnull OR coalesce(t.typnotnull, false) AS required,
       a.atthasdef OR a.attidentity <> '' OR (a.attgenerated <> '') OR t.typdefault IS NOT NULL AS given,
       a.attidentity = 'a' OR a.attgenerated <> '' AS fixed,
       EXISTS (SELECT FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f'
               AND a.attnum = ANY (f.conkey)) AS refers,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique
               AND a.attnum = ANY (i.indkey)) AS keyed,
       a.attidentity = 'd' AND NOT coalesce((SELECT s.last_value IS NOT NULL FROM pg_sequences s
           WHERE quote_ident(s.schemaname) || '.' || quote_ident(s.sequencename)
               = pg_get_serial_sequence(c.oid::regclass::text, a.attname)), false) AS listed
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid >= 16384 ORDER BY c.oid, a.attnum
"""
# Calls with as few arguments as possible, with all, with their names, and with untyped literals.
_OTHERS = """
SELECT CASE p.prokind WHEN 'p' THEN 'CALL ' ELSE 'SELECT ' END || p.oid::regproc || '(' || (
           SELECT coalesce(string_agg('NULL::' || format_type(a.type, NULL), ', ' ORDER BY a.place), '')
           FROM unnest(p.proargtypes) WITH ORDINALITY a (type, place)
           WHERE a.place <= CASE WHEN short THEN p.pronargs - p.pronargdefaults ELSE p.pronargs END
       ) || ')' AS sql, false AS may
FROM pg_proc p, (VALUES (true), (false)) calls (short)
WHERE p.oid >= 16384 AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
UNION ALL SELECT 'SELECT * FROM ' || p.oid::regproc || '(' || p.proargnames[1] || ' => NULL)', true
FROM pg_proc p WHERE p.oid >= 16384 AND p.pronargs = 1 AND p.proargnames[1] <> '' AND p.prokind = 'f'
UNION ALL SELECT 'SELECT ' || p.oid::regproc || '(NULL' || repeat(', NULL', p.pronargs - 1) || ')', true
FROM pg_proc p WHERE p.oid >= 16384 AND p.pronargs > 0 AND p.prokind = 'f'
UNION ALL SELECT 'SELECT ' || quote_ident(p.proargnames[i]) || ' FROM ' || p.oid::regproc || '(NULL)', false
FROM pg_proc p, generate_subscripts(p.proargmodes, 1) i
WHERE p.oid >= 16384 AND p.proargmodes[i] = 'o' AND p.pronargs = 1
UNION ALL SELECT 'SELECT nextval(''' || oid::regclass || ''')', false
FROM pg_class WHERE relkind = 'S' AND oid >= 16384
UNION ALL SELECT 'SELECT NULL::' || oid::regtype, false FROM pg_type
WHERE typtype IN ('e', 'd', 'c') AND oid >= 16384 AND typname !~ '^_'
UNION ALL SELECT 'SELECT ' || quote_literal(enumlabel) || '::' || enumtypid::regtype, false FROM pg_enum
UNION ALL SELECT 'SELECT (NULL::' || c.relname || ').' || quote_ident(attname), false
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relkind = 'c' AND attrelid >= 16384 AND NOT attisdropped
UNION ALL SELECT 'SELECT ''a'' COLLATE ' || quote_ident(collname), false FROM pg_collation WHERE oid >= 16384
UNION ALL SELECT 'SELECT NULL::int ' || oprname || ' NULL::int', false FROM pg_operator WHERE oid >= 16384
UNION ALL SELECT 'SELECT to_tsvector(''' || cfgname || ''', '''')', false FROM pg_ts_config WHERE oid >= 16384
UNION ALL SELECT 'SELECT FROM pg_roles WHERE rolcanlogin AND rolname = ' || quote_literal(rolname), false
FROM pg_roles WHERE oid >= 16384
UNION ALL SELECT 'INSERT INTO ' || c.oid::regclass || ' SELECT * FROM ' || c.oid::regclass
       || ' LIMIT 0 ON CONFLICT ('
       || (SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)) || ') DO NOTHING', true
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE i.indisunique AND i.indpred IS NULL AND c.oid >= 16384 AND NOT i.indisprimary AND c.relkind = 'r'
UNION ALL SELECT 'INSERT INTO ' || conrelid::regclass || ' SELECT * FROM ' || conrelid::regclass
       || ' LIMIT 0 ON CONFLICT ON CONSTRAINT ' || quote_ident(conname) || ' DO NOTHING', true
FROM pg_constraint WHERE contype = 'u' AND conrelid >= 16384
"""
_GRANTS = """
SELECT DISTINCT 'SET LOCAL ROLE ' || quote_ident(r.rolname) AS role, CASE a.privilege_type
           WHEN 'SELECT' THEN 'SELECT ' || coalesce(part, 'count(*)') || ' FROM ' || name
           WHEN 'INSERT' THEN 'INSERT INTO ' || name || ' SELECT * FROM ' || name || ' LIMIT 0'
           ELSE 'EXPLAIN DELETE FROM ' || name END AS sql
FROM (SELECT oid::regclass::text, NULL, relacl FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p', 'v')
      UNION ALL SELECT attrelid::regclass::text, quote_ident(attname), attacl FROM pg_attribute
      WHERE attrelid >= 16384) granted (name, part, acl), aclexplode(acl) a
JOIN pg_roles r ON r.oid = a.grantee
WHERE r.rolname <> current_user AND a.privilege_type IN ('SELECT', 'INSERT', 'DELETE')
"""


UNMEASURED = {
    "default-restored-by-the-next-revision": "the statements fail between two revisions of the run only",
    "required-column-that-a-trigger-fills": "what a trigger does is not known",
    "trigger-dropped": "a protection is dropped",
    "privilege-of-everybody-revoked": "only the owner has statements that use it",
    "privilege-to-refer-revoked": "no statement of a release uses it",
    "row-security-for-the-owner-only": "only the owner has statements",
    "row-security-with-a-policy-for-reads": "the statements of other roles write no row",
    "row-security-with-a-policy-for-another-role": "the statements of other roles write no row",
    "policy-that-refuses-all-rows": "the statements of other roles write no row",
    "no-row-deleted": "the planner expects at least one row",
    "delete-that-cascades-to-no-row": "the text names the row",
    "deletion-that-sets-null-in-no-row": "the text names the row",
    "copy-of-a-deleted-row": "the text names the row",
    "merge-of-a-list-of-values": "the text names the row",
    "row-deleted-in-a-function": "the text names the row",
    "row-deleted-after-a-loop": "the text names the row",
    "row-inserted-after-a-delete": "the text names the row",
    "check-whose-rows-are-corrected-under-its-lock": "an index finds these rows in a table of more pages",
    "not-null-that-rows-meet": "the rows show that releases give the value",
    "view-renamed-and-made-anew": "it shows as many rows, of another table",
    "function-with-another-result": "only the type of the result differs",
    "type-renamed-that-a-column-uses": "no generated statement casts and writes",
    "unique-with-a-new-column": "the generated rows are equal",
    "rows-that-do-not-exclude-each-other": "the generated rows are equal",
    "new-trigger-function-with-a-wrong-column-behind-a-condition": "the condition is not known",
    "identity-always-of-yielded-values": "whether releases give values is not known",
}
"""Cases whose verdict differs from the measured one, with the reason."""


@dataclass(frozen=True)
class _Statement:
    sql: str
    role: str = "SET LOCAL ROLE NONE"
    may: bool = False


async def measure_verdict(url: str, case: SafetyCase) -> tuple[str, str]:
    """Return the verdict of a case by its effects in an empty database, and the reason."""
    connection, observer = (
        await asyncpg.connect(url, statement_cache_size=0),  # a cached plan keeps dropped objects
        await asyncpg.connect(url),
    )
    try:
        for statement in case.setup:
            await connection.execute(statement)
        large = [row[0] for row in await connection.fetch(_LARGE, ROWS)]
        before = await values_of(connection)
        release = [item async for item in _working(connection)]
        worst, reason = "safe", ""
        for transactional, group in case.transactions:
            effects = Effects()
            if transactional:
                await connection.execute("BEGIN")
            for statement in group:
                try:
                    await run_statement(
                        connection,
                        observer,
                        statement,
                        large,
                        effects,
                        transactional=transactional,
                        rows=ROWS,
                    )
                except asyncpg.PostgresError as error:
                    return "danger", f"{statement}: {error}"
            if transactional:
                await connection.execute("COMMIT")
            verdict, why = await _verdict(connection, release, before, effects)
            if (verdict, worst) in (("danger", "safe"), ("danger", "warn"), ("warn", "safe")):
                worst, reason = verdict, why
        return worst, reason
    finally:
        await connection.close()
        await observer.close()


async def _working(connection: asyncpg.Connection) -> Any:
    """Yield the statements of the release that work, each with the rows that it returns."""
    columns = await connection.fetch(_COLUMNS)
    others = await connection.fetch(_OTHERS)
    grants = await connection.fetch(_GRANTS)
    candidates = [*_of_relations(columns), *(_Statement(row["sql"], may=row["may"]) for row in others)]
    candidates += [_Statement(row["sql"], row["role"]) for row in grants]
    for statement in dict.fromkeys(candidates):
        rows = await _rows(connection, statement)
        if not isinstance(rows, Exception):
            yield statement, rows


def _of_relations(columns: list[Any]) -> Iterator[_Statement]:
    """Yield statements that read a relation, change its rows, and insert with few and with most columns."""
    for relation in dict.fromkeys(row["relation"] for row in columns):
        own = [row for row in columns if row["relation"] == relation]
        prepare = "PREPARE p AS " if own[0]["kind"] == "f" else ""  # a foreign table has no rows to read
        yield _Statement(f"{prepare}SELECT {', '.join(row['name'] for row in own)} FROM {relation}")
        if own[0]["kind"] not in "rp":
            continue
        writable = [row for row in own if not row["fixed"] and not row["keyed"] and not row["given"]]
        if writable:
            name = writable[-1]["name"]
            yield _Statement(f"UPDATE {relation} SET {name} = {name}")
        for every in (False, True):
            used = [row for row in own if _is_listed(row, every=every)]
            if used:
                listed = ", ".join(row["name"] for row in used)
                values = ", ".join(_value(relation, row) for row in used)
                yield _Statement(f"INSERT INTO {relation} ({listed}) SELECT {values}")
            else:
                yield _Statement(f"INSERT INTO {relation} DEFAULT VALUES")


def _is_listed(row: Any, *, every: bool) -> bool:
    """Return whether an INSERT lists a column: those without a value of their own, or what it can give."""
    if row["fixed"]:
        return False
    return row["listed"] or (every and not row["keyed"]) or (not row["given"] and (row["required"] or every))


def _value(relation: str, row: Any) -> str:
    name = row["name"]
    if row["refers"] or row["type"] == "date" or not row["keyed"]:
        return f"(SELECT min({name}) FROM {relation})"
    if row["type"] in ("integer", "bigint"):
        return f"(SELECT coalesce(max({name}), 0) + 1 FROM {relation})"
    return "'new'" if row["type"] == "text" else f"(SELECT {name} FROM {relation} LIMIT 1)"


async def _rows(connection: asyncpg.Connection, statement: _Statement) -> int | Exception:
    """Return how many rows a statement reads or writes, in the role; an INSERT runs twice."""
    await connection.execute("BEGIN")
    try:
        await connection.execute(statement.role)
        if not statement.sql.startswith("SELECT"):
            for _ in range(2 if statement.sql.startswith("INSERT") else 1):
                status = await connection.execute(statement.sql)
            return int(status.split()[-1]) if status[-1].isdigit() else 0
        rows = await connection.fetch(statement.sql)
        return int(rows[0][0]) if "count(*)" in statement.sql or "nextval" in statement.sql else len(rows)
    except asyncpg.PostgresError as error:
        return error
    finally:
        await connection.execute("ROLLBACK")


async def _verdict(
    connection: asyncpg.Connection, release: list[Any], before: dict[tuple[int, str], int], effects: Effects
) -> tuple[str, str]:
    after, may = await values_of(connection), ""
    if effects.blocked:
        return "danger", "other sessions wait for work on a large table"
    rows = {oid: count for (oid, name), count in before.items() if not name}
    lost = [
        key
        for key, count in before.items()
        if count - after.get(key, 0) > rows[key[0]] * PART  # single rows are deleted on purpose
    ]
    names = {name for _, name in before} - {name for _, name in after}
    if lost and not (names and all(name for _, name in lost)):
        return "danger", f"values of {lost} are lost"
    for statement, known in release:
        now = await _rows(connection, statement)
        repeated = "nextval" in statement.sql and not isinstance(now, Exception) and now <= known
        if isinstance(now, Exception) or (known and not now) or repeated:
            if not statement.may:
                return "danger", f"{statement.sql}: {now}"
            may = may or f"{statement.sql}: {now}"
        elif now < known:
            may = may or f"{statement.sql}: {now} rows instead of {known}"
    if effects.written or len(effects.exclusive) > 1 or may:
        locked = "ACCESS EXCLUSIVE on two large tables" if len(effects.exclusive) > 1 else ""
        return "warn", may or locked or "many rows of a large table are written"
    return "safe", ""
