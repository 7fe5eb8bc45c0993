"""Whether what a downgrade takes can be put back into its rows, asked before any of it has run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.postgres.identifier import split_identity, unquote_and_fold
from circle_migrate.safety.losses.report import Effect, Loss

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.safety.losses.report import LossReport

_TAKING_VALUES = (Effect.DROPPED, Effect.NARROWED)
_TAKING_ROWS = (Effect.DELETED, Effect.UPDATED)

_KEYS = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
       ARRAY(SELECT a.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
                 ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
             WHERE i.indrelid = c.oid AND i.indisprimary)::text[] AS columns
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY ($1)
"""


async def ensure_key(deployment: Deployment, report: LossReport) -> None:
    """Raise `Refused` where values or rows go from a table that stays, and no primary key says from where.

    A table that goes as a whole needs none. What the report does not name, the step itself refuses.
    """
    for name in report.plan.databases:
        taken = list(_taken([each for each in report.destroyed if each.database == name]))
        if not taken:
            continue
        async with deployment.databases[name].reading() as connection:
            rows = await connection.fetch(_KEYS, [table for table, _ in taken])
            keys = {row["name"]: set(row["columns"]) for row in rows}
            for table, loss in taken:
                why = _why_not(loss, keys.get(table))
                if why and (loss.rows is not None or await _holds_rows(connection, table)):
                    raise _refusal(loss, why)


def _taken(losses: Sequence[Loss]) -> Iterator[tuple[str, Loss]]:
    """What goes from tables that stay, with the table."""
    gone = {loss.identity for loss in losses if loss.kind == "table" and loss.effect is Effect.DROPPED}
    for loss in losses:
        if loss.kind == "column" and loss.effect in _TAKING_VALUES:
            table = ".".join(split_identity(loss.identity)[:-1])
        elif loss.kind == "table" and loss.effect in _TAKING_ROWS:
            table = loss.identity
        else:
            continue
        if table not in gone:
            yield table, loss


def _why_not(loss: Loss, key: set[str] | None) -> str:
    if key is None:  # what is not there, nobody has to put back
        return ""
    if not key:
        return "has no primary key"
    takes_key = loss.kind == "column" and unquote_and_fold(split_identity(loss.identity)[-1]) in key
    return "loses its primary key" if takes_key else ""


async def _holds_rows(connection: asyncpg.Connection, table: str) -> bool:
    """Whether there is anything that a statement could take; how much, nobody has counted."""
    return bool(await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"))


def _refusal(loss: Loss, why: str) -> Refused:
    return Refused(
        f"{loss.name} could be kept, but not put back into the right rows: the table {why}",
        database=loss.database,
        state="nothing was changed",
        hint="give the table a primary key, or leave out --keep and take a backup",
    )
