"""The names of the version table and of our own tables, and their contents.

Our tables are in the schema of the setting journal-schema, which revisions, comparisons and grants leave out.
If they are still in the schema that the setting named before, or, from an earlier release, in that of the
version table, the next run moves them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from circle_migrate.core.errors import Refused, SettingsError
from circle_migrate.core.result import json_fields
from circle_migrate.postgres.deployer_lock import IS_DEPLOYER
from circle_migrate.postgres.identifier import literal, quote
from circle_migrate.postgres.journal_columns import (
    READ_COLUMNS,
    Columns,
    damaged_row_error,
    ensure_no_null,
    find_defect,
    nullable_columns,
)
from circle_migrate.postgres.search_path import FIRST_SCHEMA

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.config.settings import DatabaseSettings

_NO_REASON = "no reason was given"


class ProtectionMarker(NamedTuple):
    """The marker in a protected database; all fields are None if the role may not read it."""

    since: datetime | None = None
    role: str | None = None
    os_user: str | None = None
    host: str | None = None
    reason: str | None = None

    @classmethod
    def from_row(cls, text: str) -> ProtectionMarker:
        """Parse the marker's row, which the server prints as JSON."""
        row: Mapping[str, str] = json.loads(text)
        texts = (row[name] for name in ("db_role", "os_user", "host", "reason"))
        return cls(datetime.fromisoformat(row["protected_at"]), *texts)

    @property
    def description(self) -> str:
        """The marker as a text for people."""
        if self.since is None:
            return "by a marker that this role may not read"
        return f"by {self.by} (role {self.role}) since {self.since:%F %T %Z}: {self.reason or _NO_REASON}"

    @property
    def by(self) -> str | None:
        """USER@HOST that set the marker, as in the journal; None if the role may not read it."""
        return f"{self.os_user}@{self.host}" if self.since else None

    def to_dict(self) -> dict[str, str | None]:
        """Return the marker as in the JSON output."""
        return json_fields(self, "since by role reason")


class Protection(NamedTuple):
    """The protection of a database: a marker in it, the source of a setting, or both."""

    marker: ProtectionMarker | None = None
    setting: str | None = None

    @property
    def description(self) -> str:
        """The protection as a text for people."""
        setting = f"by a setting ({self.setting})" if self.setting else ""
        return "; ".join(filter(None, [self.marker.description if self.marker else "", setting]))

    def to_dict(self) -> dict[str, Any]:
        """Return the protection as in the JSON output."""
        return json_fields(self, "marker setting")


class UnfinishedStep(NamedTuple):
    """A step without transaction that a run began and did not complete; `stays` is committed, if known."""

    revision: str
    direction: str
    run: str
    at: str
    stays: Sequence[str] = ()

    @classmethod
    def from_row(cls, text: str, journal: str | None, database: str) -> UnfinishedStep:
        """Parse a note of a run in the journal. Raises `Refused` for what `begin_step` cannot write."""
        row, runs = json.loads(text), f"{journal}{RUNS}"
        match row["note"]:
            case {"revision": str(key), "direction": "up" | "down" as direction, "after": int(), **more}:
                stays = more.get("stays", [])
                if isinstance(stays, list) and all(isinstance(item, str) for item in stays):
                    return cls(key, direction, row["run"], row["at"], stays)
        text = f"{runs} has a damaged note about run {row['run']}: {json.dumps(row['note'])[:200]}"
        hint = f"restore it, or, if no revision is half applied: UPDATE {runs} SET notes = '{{}}' "
        hint += f"WHERE run = '{row['run']}';"
        raise Refused(f"{database}: {text}", database=database, hint=hint)

    @property
    def is_downgrade(self) -> bool:
        """Whether the step is one of a downgrade."""
        return self.direction == "down"


NAMES = RUNS, STEPS, PROTECTION = "runs", "steps", "protection"
"""Our tables; the row of the last one is the marker of a protected database."""

OLD_PREFIX = "circle_migrate_"
"""Prefix of their names in the schema of the version table, where earlier releases created them."""

OWN_TABLES = tuple(f"{OLD_PREFIX}{name}" for name in NAMES)
"""Their names in the schema of the version table, which neither models nor revisions contain."""

KEPT_SCHEMA = "circle_kept"
"""The schema in which `downgrade --keep` archives data."""

JOURNAL_SETTING = "circle_migrate.journal_schema"
"""The setting of our sessions that has the schema where the journal is, for queries that leave it out."""

OWN_SCHEMAS = f"('{KEPT_SCHEMA}', coalesce(current_setting('{JOURNAL_SETTING}', true), 'circle_migrate'))"
"""Our schemas as a list in SQL."""

_RUNS_COMMENT = "circle-migrate: one row per run on this database, with the version table "


def runs_comment(settings: DatabaseSettings, schema: str) -> str:
    """Return the comment by which `find_journal` finds the journal of a version table in `schema`."""
    return f"{_RUNS_COMMENT}{schema}.{settings.version_table}"


def find_journal(settings: DatabaseSettings) -> str:
    """Return the statement that sets `JOURNAL_SETTING`.

    Without a journal in the schema of the setting, it searches the others for one of the same version table,
    by its comment, with the same owner or our own: another project in the database has a journal, too.
    """
    own, table = literal(settings.journal_schema), literal(settings.version_table)
    schema = literal(settings.version_table_schema) if settings.version_table_schema else FIRST_SCHEMA
    return f"""SELECT set_config('{JOURNAL_SETTING}', coalesce((
    SELECT nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relname = '{RUNS}' AND (nspname = {own}
        OR obj_description(c.oid, 'pg_class') = {literal(_RUNS_COMMENT)} || {schema} || '.' || {table}
        AND (pg_get_userbyid(relowner) = current_user
             OR relowner IN (SELECT v.relowner FROM pg_class v WHERE v.relname = {table}
                             AND v.relnamespace = to_regnamespace(quote_ident({schema})))))
    ORDER BY nspname <> {own} LIMIT 1), {own}), false)"""


# A later step of the revision, or a stamp, settles it. Nothing is known of a run that is active.
_UNFINISHED = f"""
SELECT jsonb_build_object('note', notes -> 'unfinished', 'run', run,
    'at', to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'))::text
FROM {{runs}}
WHERE outcome <> 'done' AND notes ? 'unfinished' AND NOT EXISTS (
    SELECT FROM {{steps}} step
    WHERE step.id > left(substring(notes -> 'unfinished' ->> 'after' FROM '^[0-9]+$'), 18)::bigint AND (
        step.direction <> 'stamp' AND step.revision = notes -> 'unfinished' ->> 'revision'
        OR EXISTS (SELECT FROM {{runs}} later WHERE later.run = step.run AND later.command = 'stamp')
    )
) AND (outcome <> 'started' OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_locks l WHERE l.pid <> pg_backend_pid() AND {IS_DEPLOYER}
))
ORDER BY started_at
"""

_MAX_ROWS = 1000
"""Rows of a version table; no tree has so many heads."""

TABLES = f"""
    ARRAY(SELECT ARRAY[(relnamespace = to_regnamespace(quote_ident(own.journal)))::text, relname::text,
                       pg_get_userbyid(relowner)::text, has_table_privilege(oid, 'SELECT')::text,
                       relkind::text, {READ_COLUMNS}]
          FROM pg_catalog.pg_class
          WHERE relnamespace IN (to_regnamespace(quote_ident(own.schema)),
                                 to_regnamespace(quote_ident(own.journal)))
            AND relname = ANY ($4::text[]::name[]))
"""
"""An array of the tables named $4 in the schemas of `own`; $1 is the version table."""


_OF_OTHERS = "if the table is another application's, set journal-schema to a schema that has nothing else"


async def read_contents(
    connection: asyncpg.Connection, settings: DatabaseSettings, row: asyncpg.Record
) -> dict[str, Any]:
    """Return fields of the state from a `row` with `own` and `TABLES`; refuses tables of others."""
    schema, journal_schema = row["schema"], row["journal"]
    version_table = f"{quote(schema)}.{quote(settings.version_table)}"
    places = (f"{quote(journal_schema)}.", f"{quote(schema)}.{OLD_PREFIX}")
    names = {version_table, *(place + name for place in places for name in NAMES)}
    readable = {}
    id_length = None
    nullable = {}
    for in_own, name, owner, may_read, kind, column_text in row["tables"]:
        place = quote(journal_schema if in_own == "true" else schema)
        table = f"{place}.{quote(name) if name == settings.version_table else name}"
        readable[table] = may_read == "true"
        if table not in names:
            continue
        columns: Columns = json.loads(column_text or "{}")
        own = None if table == version_table else name.removeprefix(OLD_PREFIX)
        if defect := find_defect(own, kind, columns):
            remedy = (
                f"{_OF_OTHERS}; else restore it, or rename or drop it, after you have read its definition; "
            )
            remedy += "if it is the version table, "
            raise _defect_error(settings, f"{table}, whose owner is {owner}, {defect}", remedy)
        if own is None:
            modifier = columns["version_num"][2]
            id_length = modifier - 4 if modifier > 4 else None  # VARHDRSZ
        elif readable[table]:
            nullable[table] = nullable_columns(own, columns)
    journal, marker = (
        next((place for place in places if place + name in readable), None) for name in (RUNS, PROTECTION)
    )
    owners = ", ".join(sorted(f"{name}, whose owner is {owner}" for _, name, owner, *_ in row["tables"]))
    if journal and journal + STEPS not in readable:
        raise Refused(
            f"{settings.name}: {journal}{RUNS} exists without {journal}{STEPS}; there are {owners}",
            database=settings.name,
            hint=f"{_OF_OTHERS}; if it is the journal, move the other table there or restore it "
            f"from a backup, or let the next run begin a journal: DROP TABLE {journal}{RUNS}",
        )
    for table in (f"{journal}{RUNS}", f"{journal}{STEPS}", f"{marker}{PROTECTION}"):
        if nullable.get(table):
            await ensure_no_null(connection, settings.name, table, nullable[table])
    queries = [
        f"SELECT version_num::text FROM (SELECT version_num FROM {version_table} LIMIT {_MAX_ROWS + 1}) "
        "rows ORDER BY 1"
        if version_table in readable
        else "SELECT NULL::text LIMIT 0",
        f"SELECT database FROM {journal}{RUNS} LIMIT 1" if journal else "NULL",
        f"SELECT to_json(marker)::text FROM {marker}{PROTECTION} marker LIMIT 1"
        if marker and readable[marker + PROTECTION]
        else "NULL",
        _UNFINISHED.format(runs=f"{journal}{RUNS}", steps=f"{journal}{STEPS}")
        if journal and readable[journal + STEPS]
        else "SELECT NULL::text LIMIT 0",
    ]
    query = "SELECT ARRAY({}), ({}), ({}), ARRAY({})".format(*queries)
    current, journal_of, marker_row, unfinished = await connection.fetchrow(query)
    try:
        marker_of_row = ProtectionMarker.from_row(marker_row) if marker_row else None
    except ValueError as error:
        row, table = json.loads(marker_row), f"{marker}{PROTECTION}"
        raise damaged_row_error(settings.name, table, row, "protected_at") from error
    if len(current) > _MAX_ROWS:
        raise _defect_error(settings, f"{version_table} has more than {_MAX_ROWS} rows")
    if None in current:
        remedy = f"if it is Alembic's: DELETE FROM {version_table} WHERE version_num IS NULL; else "
        raise _defect_error(settings, f"{version_table} has a row without a revision", remedy)
    unreadable = ProtectionMarker() if marker and not readable[marker + PROTECTION] else None
    return {
        "journal": journal or places[0],
        "current": tuple(current),
        "journal_of": journal_of,
        "marker": marker_of_row or unreadable,
        "id_length": id_length,
        "unfinished": tuple(UnfinishedStep.from_row(row, journal, settings.name) for row in unfinished),
    }


async def prepared_by_runs(
    connection: asyncpg.Connection, journal: str, gids: Sequence[str]
) -> tuple[str, ...]:
    """Return those of the prepared transactions that a run in the journal can have prepared, as its role.

    Any role may prepare a transaction of any name. The run must have been atomic over both databases that the
    name has, and neither the run nor the segment can have ended: COMMIT PREPARED makes the steps of a segment
    visible. Times prove nothing, as a PREPARE that was delayed in the network can arrive after the run's end.
    So whoever has the migrator's role can still forge the name of a run that failed or was lost; `recover`
    finishes that transaction as it would the run's.
    """
    if not gids:
        return ()
    rows = await connection.fetch(
        f"""SELECT gid FROM (SELECT *, string_to_array(gid, ':') AS part FROM pg_catalog.pg_prepared_xacts) x
        JOIN {journal}{RUNS} run ON run.run::text = part[2] AND run.db_role = x.owner
        WHERE gid = ANY ($1::text[]) AND mode = 'atomic' AND outcome <> 'done' AND cardinality(part) = 5
          AND part[3] ~ '^[1-9][0-9]{{0,8}}$' AND part[4] <> part[5] AND part[5] = run.database
          AND planned ?& ARRAY[part[4], part[5]]
          AND NOT EXISTS (
              SELECT FROM {journal}{STEPS} step WHERE step.run = run.run AND segment::text = part[3])
        ORDER BY gid""",
        gids,
    )
    return tuple(row["gid"] for row in rows)


def _defect_error(settings: DatabaseSettings, message: str, remedy: str = "") -> Refused:
    return Refused(
        f"{settings.name}: {message}",
        database=settings.name,
        hint=f"{remedy}set version-table in [tool.circle-migrate.databases.{settings.name}] to another table",
    )


def ensure_not_in_search_path(settings: DatabaseSettings, schemas: Collection[str]) -> None:
    """Raise `SettingsError` where revisions see the journal's schema among the `schemas`."""
    if settings.journal_schema in schemas:
        raise SettingsError(
            f"{settings.name}: the search_path has the schema {settings.journal_schema} of the journal, "
            "so revisions would see it",
            database=settings.name,
            state="nothing was changed",
            hint=f"set journal-schema in [tool.circle-migrate.databases.{settings.name}] to another schema",
        )
