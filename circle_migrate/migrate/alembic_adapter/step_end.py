"""The message that ends a step in a transaction: it resets the session and writes our rows.

One text of the simple protocol does all of it, as each message costs as much as a small statement. Its last
statement answers with a number of rows, which says what was not as expected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntFlag
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from circle_migrate.postgres.deployer_lock import NOT_HELD
from circle_migrate.postgres.identifier import Constant, Parameters, literal

if TYPE_CHECKING:
    import asyncpg

ANY_DEFERRABLE = "EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgdeferrable)"
"""The condition that a check can be deferred: deferrable constraints are checked by triggers, and pg_trigger,
unlike pg_constraint, has no rows for primary keys and NOT NULL."""


class RowsChangedError(Exception):
    """A step has changed rows of ours; the text says which."""


class Unexpected(IntFlag):
    """What is not as expected after a step."""

    VERSION_ROWS = 1
    JOURNAL = 2
    LOCK_LOST = 4
    DEFERRABLE = 8


def version_changes(
    table: str, before: Sequence[str], after: Sequence[str], constant: Constant
) -> list[tuple[str, int]]:
    """Return the statements that change the rows of the version table, with the rows that each changes."""
    removed, added = sorted({*before} - {*after}), sorted({*after} - {*before})
    where = f"WHERE version_num IN ({', '.join(map(constant, removed))})"
    if len(removed) == len(added) == 1:  # as Alembic, so that the role needs the same privileges
        return [(f"UPDATE {table} SET version_num = {constant(added[0])} {where}", 1)]  # noqa: S608 - quoted
    changes = [(f"DELETE FROM {table} {where}", len(removed))] if removed else []  # noqa: S608 - quoted
    if added:
        values = ", ".join(f"({constant(key)})" for key in added)
        changes.append((f"INSERT INTO {table} (version_num) VALUES {values}", len(added)))  # noqa: S608 - quoted
    return changes


class StepEnd:
    """The ends of the steps of one session, whose statement is prepared once for steps that differ in values.

    To plan it takes the server longer than to run it.
    """

    def __init__(self) -> None:
        self._prepared: dict[str, str] = {}
        self._count = 0

    def forget_prepared(self) -> None:
        """Prepare the statement again, as a step may have deallocated it."""
        self._prepared.clear()

    async def run(
        self,
        driver: asyncpg.Connection,
        reset: str,
        changes: Callable[[Constant], Sequence[tuple[str, int]]],
        record: Callable[[Constant], str],
        *,
        asks_deferrable: bool,
    ) -> Unexpected:
        """Reset the session, change the version table, and add the row of the journal, if any.

        With `asks_deferrable`, deferrable constraints are unexpected. Raises `DBAPIError` and
        `RowsChangedError`.
        """
        parameters = Parameters()
        sql = _sql(changes(parameters), record(parameters), asks_deferrable=asks_deferrable)
        name, prepare = self._prepared.get(sql), ""
        if name is None:
            self._count += 1  # a name that no rollback leaves prepared
            name = f"circle_migrate_{self._count}"
            prepare = f"PREPARE {name} AS {sql}; "
        text = f"{reset}; {prepare}EXECUTE {name} ({', '.join(parameters.values)})"
        try:
            tag = str(await driver.execute(text))
        except Exception as error:
            statement = _sql(changes(literal), record(literal), asks_deferrable=asks_deferrable)
            raise DBAPIError(statement, None, error) from error
        self._prepared[sql] = name
        unexpected = Unexpected(int(tag.removeprefix("SELECT ")))
        if Unexpected.VERSION_ROWS in unexpected:
            raise RowsChangedError("the step has changed rows of the version table")
        if Unexpected.JOURNAL in unexpected:
            raise RowsChangedError("a step has removed rows of the journal")
        return unexpected


def _sql(changes: Sequence[tuple[str, int]], insert: str, *, asks_deferrable: bool) -> str:
    written = [*changes, (insert, 1)] if insert else changes
    parts = [f"w{number} AS ({sql} RETURNING 1)" for number, (sql, _) in enumerate(written)]
    counts = (f"SELECT count(*) FROM w{number}" for number in range(len(written)))  # noqa: S608 - numbers
    wrong = [f"({count}) <> {rows}" for count, (_, rows) in zip(counts, written, strict=True)]
    conditions = {
        Unexpected.VERSION_ROWS: " OR ".join(wrong[: len(changes)]) or "false",
        Unexpected.JOURNAL: wrong[-1] if insert else "false",
        Unexpected.LOCK_LOST: NOT_HELD,
        Unexpected.DEFERRABLE: ANY_DEFERRABLE if asks_deferrable else "false",
    }
    number = " + ".join(f"({condition})::int4 * {flag:d}" for flag, condition in conditions.items())
    with_changes = f"WITH {', '.join(parts)} " if parts else ""
    return f"{with_changes}SELECT FROM generate_series(1, {number})"


def insert_row(driver: asyncpg.Connection, insert: str) -> None:
    """Add the row of the journal, if any. Raises `DBAPIError` and `RowsChangedError`."""
    if not insert:
        return
    try:
        tag = await_only(driver.execute(insert))
    except Exception as error:
        raise DBAPIError(insert, None, error) from error
    if tag == "INSERT 0 0":
        raise RowsChangedError("a step has removed rows of the journal")
