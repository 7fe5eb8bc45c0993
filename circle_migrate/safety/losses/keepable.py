"""Check before a downgrade that `--keep` can restore the lost values and rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.postgres.identifier import split_identity, unquote_and_fold
from circle_migrate.safety.losses.report import Effect, Loss

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.safety.losses.report import LossReport

_KEYS = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
       ARRAY(SELECT a.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
                 ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
             WHERE i.indrelid = c.oid AND i.indisprimary)::text[] AS columns
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY ($1)
"""


async def ensure_restorable(deployment: Deployment, report: LossReport) -> None:
    """Raise `Refused` where values or rows are lost in a remaining table without a primary key.

    A dropped table needs none. The step itself refuses losses that the report does not contain.
    """
    for name in report.plan.databases:
        losses = list(_in_remaining_tables([loss for loss in report.destroyed if loss.database == name]))
        if not losses:
            continue
        async with deployment.databases[name].reading() as connection:
            rows = await connection.fetch(_KEYS, [table for table, _ in losses])
            keys = {row["name"]: row["columns"] for row in rows}
            for table, loss in losses:
                reason = _missing_key(loss, keys[table]) if table in keys else ""
                # Where the rows were not counted, any row of the table may be lost.
                if reason and (
                    loss.rows is not None or await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})")
                ):
                    raise Refused(
                        f"--keep cannot restore {loss.name} to the right rows: the table {reason}",
                        database=loss.database,
                        state="nothing was changed",
                        hint="add a primary key to the table, or run without --keep and take a backup",
                    )


def _in_remaining_tables(losses: Sequence[Loss]) -> Iterator[tuple[str, Loss]]:
    """Yield the losses of values and rows in tables that are not dropped, with the table."""
    dropped = {loss.identity for loss in losses if (loss.kind, loss.effect) == ("table", Effect.DROPPED)}
    for loss in losses:
        match loss.kind, loss.effect:
            case "column", Effect.DROPPED | Effect.NARROWED:
                table = ".".join(split_identity(loss.identity)[:-1])
            case "table", Effect.DELETED | Effect.UPDATED:
                table = loss.identity
            case _:
                continue
        if table not in dropped:
            yield table, loss


def _missing_key(loss: Loss, key: Sequence[str]) -> str:
    if not key:
        return "has no primary key"
    is_key = loss.kind == "column" and unquote_and_fold(split_identity(loss.identity)[-1]) in key
    return "loses its primary key" if is_key else ""
