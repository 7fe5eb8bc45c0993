"""The journal of a database: what ran on it, when, how long, by whom, from which file.

The start and the end of a run are recorded in transactions of their own, so that the journal has failed runs
too. A step is recorded in the step's own transaction, so that its row exists exactly where its effect does.
The rows of the first database of a segment are the decision of an atomic commit.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from circle_migrate import __version__
from circle_migrate.core.redaction import redact, redact_python
from circle_migrate.migrate.guards import journal_error
from circle_migrate.migrate.journal_rows import AppliedBy, JournalRun, JournalStep, os_user
from circle_migrate.migrate.journal_schema import ensure_tables
from circle_migrate.postgres.database import Database, State
from circle_migrate.postgres.identifier import Constant, literal, quote
from circle_migrate.postgres.journal_columns import damaged_row_error
from circle_migrate.postgres.journal_tables import RUNS, STEPS
from circle_migrate.postgres.server_errors import statement_error

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.revision_graph.graph import Graph
    from circle_migrate.revision_graph.plan import Action, Step

_NOT_ASCII = r"[^\0-\x7f]"
_LACKING = {**dict.fromkeys(("UTF8", "SQL_ASCII"), r"[\ud800-\udfff]"), "LATIN1": r"[^\0-\xff]"}
"""Characters that a server encoding lacks; any that is not named here may lack all but ASCII."""

_TIME = "CASE WHEN {0} BETWEEN '1970-01-01' AND '9000-01-01' THEN {0} END AS {0}"

_WORDS = {
    "outcome": ("started", "done", "failed", "interrupted", "lost"),
    "direction": ("up", "down", "stamp"),
}
"""The values of columns that have a CHECK constraint."""

_RUNS = f"""
SELECT run::text, database, command, mode, {{planned}} AS planned, outcome, error,
       {_TIME.format("started_at")}, {_TIME.format("ended_at")},
       db_role, os_user, host, tool_version, {{notes}} AS notes
FROM {{runs}} {{where}} ORDER BY started_at DESC LIMIT $1
"""


# TRUNCATE gives a table another file. To count the rows for every transaction takes longer with each.
_FILE = "pg_relation_filenode({steps}::regclass)"
_UNTOUCHED = f"""current_setting('track_counts')::bool AND {_FILE} = {{file}}
AND pg_stat_get_xact_tuples_deleted({{steps}}::regclass) = 0"""


class Journal:
    """The journal of one database: where it is, and after `ensure` in its own schema."""

    def __init__(self, database: Database, state: State) -> None:
        self.database = database
        self._encoding = "UTF8"
        self.schema = database.settings.journal_schema
        self.runs, self.steps = f"{state.journal}{RUNS}", f"{state.journal}{STEPS}"
        self.step_count = self._file = 0
        self._state = state

    async def ensure(self, connection: asyncpg.Connection) -> None:
        """Create the tables where they are missing, or move them to their schema (`ensure_tables`)."""
        await ensure_tables(connection, self.database.settings, self._state.schema)
        self.runs, self.steps = (f"{quote(self.schema)}.{name}" for name in (RUNS, STEPS))

    @contextmanager
    def reading_as(self, role: str) -> Iterator[None]:
        """Add the statement that grants the role what it needs to the error of a refused read."""
        try:
            yield
        except Exception as error:
            failure = statement_error(error, self.database.name, "read the journal")
            if failure is None:
                raise
            failure.hint = f'GRANT SELECT ON {self.runs}, {self.steps} TO "{role}";'
            raise failure from error

    async def start_run(
        self,
        connection: asyncpg.Connection,
        run: str,
        command: str,
        mode: str,
        planned: Mapping[str, Sequence[str]],
        notes: Mapping[str, object],
    ) -> None:
        """Record the start of a run, and count the steps of earlier runs."""
        self._encoding = connection.get_settings().server_encoding
        values = (run, self.database.name, command, mode, self._json(planned))
        origin = (self._storable(os_user()), socket.gethostname(), __version__)
        async with connection.transaction():
            await connection.execute(
                f"INSERT INTO {self.runs} "
                "(run, database, command, mode, planned, os_user, host, tool_version, notes) "
                "VALUES ($1::text::uuid, $2, $3, $4, $5::text::jsonb, $6, $7, $8, $9::text::jsonb)",
                *(*values, *origin, self._json(notes)),
            )
            query = f"SELECT count(*), {_FILE.format(steps=literal(self.steps))}::bigint FROM {self.steps}"
            self.step_count, self._file = await connection.fetchrow(query)

    async def begin_step(self, connection: asyncpg.Connection, run: str, step: Step) -> None:
        """Note that the run begins a step without transaction, until the step or the run has ended."""
        note = literal(self._json({"revision": step.revision.id, "direction": str(step.direction)}))
        # Names are qualified, as a step may have set any search_path.
        await connection.execute(
            f"UPDATE {self.runs} SET notes = notes OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object("
            f"'unfinished', {note}::pg_catalog.jsonb OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object("
            f"'after', (SELECT COALESCE(pg_catalog.max(id), 0) FROM {self.steps}))) "
            f"WHERE run OPERATOR(pg_catalog.=) {literal(run)}::pg_catalog.uuid"
        )

    async def note_step(self, connection: asyncpg.Connection, run: str, step: Step) -> None:
        """Do the same in the transaction of a step that may commit it: a COMMIT of the step commits the note.

        A rollback removes the note, and the row of the step settles it. Without the privilege, there is none.
        """
        try:
            await connection.execute("SAVEPOINT circle_migrate")
        except Exception:  # noqa: BLE001 - the transaction has failed, or the step has ended it
            return
        try:
            await self.begin_step(connection, run, step)
        except Exception:  # noqa: BLE001 - the step has set another role, or its transaction to read-only
            await connection.execute("ROLLBACK TO circle_migrate")
        await connection.execute("RELEASE circle_migrate")

    async def finish_run(
        self,
        connection: asyncpg.Connection,
        run: str,
        outcome: str,
        error: str | None = None,
        fingerprint: str | None = None,
        stays: Sequence[str] | None = (),
        step: Step | None = None,
    ) -> None:
        """Record the end of a run, the fingerprint after it, and what `stays` of its `step`, if known."""
        if stays and step is not None and step.database == self.database.name:
            await self.begin_step(connection, run, step)
        await connection.execute(
            f"UPDATE {self.runs} SET outcome = $2, error = $3, fingerprint = $4, "
            "ended_at = clock_timestamp(), notes = CASE WHEN $5::text IS NULL THEN notes "
            "WHEN $5::text = '[]' THEN notes - 'unfinished' "
            "ELSE jsonb_set(notes, '{unfinished,stays}', $5::text::jsonb) END WHERE run = $1::text::uuid",
            *(run, outcome, self._storable(redact(error)) if error else None, fingerprint),
            None if stays is None else self._json(stays),
        )

    async def last_fingerprint(self, connection: asyncpg.Connection) -> tuple[str | None, bool]:
        """Return the last fingerprint, and whether a change by hand is open (see `changed_schema`)."""
        row = await connection.fetchrow(
            f"SELECT (SELECT fingerprint FROM {self.runs} WHERE fingerprint IS NOT NULL "
            "ORDER BY ended_at DESC LIMIT 1), "
            f"(SELECT notes #>> '{{drift,outcome}}' FROM {self.runs} WHERE notes ? 'drift' "
            "ORDER BY started_at DESC LIMIT 1) AS outcome"
        )
        return row["fingerprint"], row["outcome"] == "open"

    def insert_step_sql(
        self,
        run: str,
        segment: int,
        action: Action,
        seconds: float,
        elsewhere: Mapping[str, Sequence[str]],
        constant: Constant = literal,
        *,
        is_last: bool,
    ) -> str:
        """Return the statement that records a step, for the step's own transaction.

        It adds no row if the journal does not have this run any more, nor, if the step `is_last` in its
        transaction, `step_count` steps.
        """
        texts = (str(action.direction), self._json(elsewhere), repr(seconds), *_revision_columns(action))
        direction, others, duration, *columns = (
            "NULL" if text is None else constant(self._storable(text)) for text in texts
        )
        insert = (
            f"INSERT INTO {self.steps} (run, segment, direction, duration_ms, started_at, elsewhere, "
            f"revision, message, checksum, source) SELECT run, {constant(str(segment))}::int, {direction}, "
            f"{duration}::float8 * 1000, clock_timestamp() - make_interval(secs => {duration}::float8), "
            f"{others}::jsonb, {', '.join(columns)} FROM {self.runs} WHERE run = {literal(run)}::uuid"
        )
        if not is_last:
            return insert
        counted = f"(SELECT count(*) FROM {self.steps}) = {constant(str(self.step_count))}::int"
        return f"{insert} AND ({_UNTOUCHED.format(steps=literal(self.steps), file=self._file)} OR {counted})"

    def _json(self, value: object) -> str:
        return self._storable(json.dumps(value, ensure_ascii=False), r"\\u")

    def _storable(self, text: str, escape: str = r"\u") -> str:
        """Return the text with escapes for characters that the database's encoding may not have."""
        if text.isascii():
            return text
        lacking = _LACKING.get(self._encoding, _NOT_ASCII)
        return re.sub(lacking, lambda match: f"{escape}{ord(match[0]):04x}", text)

    async def has_committed(self, connection: asyncpg.Connection, run: str, segment: int) -> bool | None:
        """Return whether this database has committed the segment; None if its journal lacks the run."""
        steps = f"SELECT FROM {self.steps} WHERE run = $1::text::uuid AND segment = $2"
        query = f"SELECT EXISTS ({steps}) FROM {self.runs} WHERE run = $1::text::uuid"
        committed: bool | None = await connection.fetchval(query, run, segment)
        return committed

    async def lost_runs(self, connection: asyncpg.Connection, *, mark: bool) -> tuple[str, ...]:
        """Return the runs that have no end, and `mark` them as lost; the caller holds the deployer lock.

        Raises the errors of `journal_error`.
        """
        query = f"SELECT run::text FROM {self.runs} WHERE outcome = 'started' ORDER BY started_at"
        if mark:
            query = (
                f"UPDATE {self.runs} SET outcome = 'lost', ended_at = clock_timestamp() "
                "WHERE outcome = 'started' RETURNING run::text"
            )
        try:
            return tuple(row["run"] for row in await connection.fetch(query))
        except Exception as error:
            raise journal_error(self._state, error, is_lost=connection.is_closed()) from error

    async def checksums(self, connection: asyncpg.Connection) -> dict[str, str]:
        """Return the checksums of the files with which revisions were last applied, by revision id."""
        rows = await connection.fetch(f"SELECT revision, checksum FROM {self._applied_files}")
        return {row["revision"]: row["checksum"] for row in rows}

    async def applied_revisions(self, connection: asyncpg.Connection, graph: Graph) -> set[str]:
        """Return the revisions of the graph that are applied after the last stamp and all later steps."""
        rows = await connection.fetch(
            "SELECT DISTINCT ON (revision, direction = 'stamp') revision, direction "
            f"FROM {self.steps} WHERE revision IS NOT NULL AND id >= coalesce("
            f"(SELECT max(id) FROM {self.steps} WHERE direction = 'stamp'), 0) "
            "ORDER BY revision, direction = 'stamp', id DESC"
        )
        stamped = {key for row in rows if row["direction"] == "stamp" for key in row["revision"].split(", ")}
        applied = graph.ancestors(stamped & graph.revisions.keys())
        applied.update(row["revision"] for row in rows if row["direction"] == "up")
        undone = {row["revision"] for row in rows if row["direction"] == "down"}
        squashed = (graph.squashes.revisions[key] for key in undone & graph.squashes.revisions.keys())
        undone.update(chain.from_iterable(revision.replaces for revision in squashed))
        return (applied - undone) & graph.revisions.keys()

    async def digest(self, connection: asyncpg.Connection) -> str:
        """Return the digest of `checksums`, computed by the server as `files_digest` computes it."""
        digest: str = await connection.fetchval(self.digest_query)
        return digest

    @property
    def digest_query(self) -> str:
        """The query of `digest`."""
        return (
            "SELECT encode(sha256(convert_to(coalesce(string_agg("
            "revision || ' ' || checksum || E'\\n', ''), ''), 'UTF8')), 'hex') "
            f"FROM {self._applied_files}"
        )

    @property
    def _applied_files(self) -> str:
        key = 'revision COLLATE "C"'  # the order of Python's `sorted`
        last = f"SELECT DISTINCT ON ({key}) revision, direction, checksum FROM {self.steps}"
        return f"({last} WHERE checksum IS NOT NULL ORDER BY {key}, id DESC) last WHERE direction = 'up'"

    async def applied(self, connection: asyncpg.Connection, revisions: Sequence[str]) -> dict[str, AppliedBy]:
        """Return by id how revisions were last applied; those that no run applied are left out."""
        rows = await connection.fetch(
            "SELECT DISTINCT ON (step.revision) step.revision, run.tool_version, step.started_at AS at, "
            f"run.os_user || '@' || run.host AS by FROM {self.steps} step JOIN {self.runs} run USING (run) "
            "WHERE step.revision = ANY($1::text[]) AND step.direction = 'up' "
            "ORDER BY step.revision, step.id DESC",
            revisions,
        )
        return {row["revision"]: AppliedBy(row["tool_version"], row["at"], row["by"]) for row in rows}

    async def sources(
        self, connection: asyncpg.Connection, revisions: Collection[str] = (), *, prefix: str | None = None
    ) -> dict[str, str]:
        """Return the sources, as last applied or undone, of these revisions and of ids with the prefix."""
        rows = await connection.fetch(
            f"SELECT DISTINCT ON (revision) revision, source FROM {self.steps} "
            "WHERE (revision = ANY($1::text[]) OR starts_with(revision, $2::text)) AND source IS NOT NULL "
            "ORDER BY revision, id DESC",
            *(list(revisions), prefix),
        )
        return {row["revision"]: row["source"] for row in rows}

    async def last_run(self, connection: asyncpg.Connection) -> JournalRun | None:
        """Return the latest run without steps and `notes`; `planned` only if it has no end."""
        planned = "CASE outcome WHEN 'started' THEN planned::text ELSE '{}' END"
        query = _RUNS.format(planned=planned, notes="'{}'", runs=self.runs, where="")
        rows = await connection.fetch(query, 1)
        return JournalRun(**self._parsed(rows[0], self.runs)) if rows else None

    async def read(
        self, connection: asyncpg.Connection, limit: int, run: str | None = None
    ) -> list[JournalRun]:
        """Return the latest runs, newest first, or the one with that id, with their steps."""
        where = "WHERE run = $2::text::uuid" if run else ""
        query = _RUNS.format(planned="planned::text", notes="notes::text", runs=self.runs, where=where)
        rows = await connection.fetch(query, limit, *filter(None, [run]))
        step_rows = await connection.fetch(
            f"SELECT run::text, segment, direction, revision, message, {_TIME.format('started_at')}, "
            "CASE WHEN duration_ms BETWEEN 0 AND 1e12 THEN duration_ms END AS duration_ms, checksum, "
            f"elsewhere::text FROM {self.steps} WHERE run = ANY($1::text[]::uuid[]) ORDER BY id",
            [row["run"] for row in rows],
        )
        steps: dict[str, list[JournalStep]] = {row["run"]: [] for row in rows}
        for row in step_rows:
            steps[row["run"]].append(JournalStep(**self._parsed(row, self.steps)))
        return [JournalRun(**self._parsed(row, self.runs), steps=tuple(steps[row["run"]])) for row in rows]

    def _parsed(self, row: asyncpg.Record, table: str) -> dict[str, Any]:
        """Return the row with its JSON parsed. Raises `Refused` for a value that no run writes."""
        values: dict[str, Any] = dict(row)
        for name, value in row.items():
            is_right = value is not None or name in ("error", "ended_at", "checksum")
            is_right = is_right and value in _WORDS.get(name, (value,))
            if is_right and name in ("planned", "elsewhere", "notes"):
                values[name] = parsed = json.loads(value)
                kind = list if name != "notes" else object
                is_right = isinstance(parsed, dict) and all(
                    isinstance(part, kind) for part in parsed.values()
                )
                is_right = is_right and isinstance(parsed.get("safety", {}), dict)
            if not is_right:
                raise damaged_row_error(self.database.name, table, dict(row), name)
        return values


def _revision_columns(action: Action) -> tuple[str, str, str | None, str | None]:
    """Return the values of the columns revision, message, checksum and source."""
    from circle_migrate.revision_graph.plan import Stamp

    if isinstance(action, Stamp):
        return ", ".join(action.heads) or "base", "stamped", None, None
    from circle_migrate.revision_graph.modules import source_of

    revision = action.revision
    return revision.id, revision.message, revision.checksum, redact_python(source_of(revision))
