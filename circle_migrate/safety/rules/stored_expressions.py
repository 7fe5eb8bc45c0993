"""Check stored values computed by a function, which PostgreSQL does not recompute when it is replaced."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Op
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import STORING, StatementContext
from circle_migrate.safety.trace.record import Task

_EXPRESSION_FIELDS = {"index": "definition", "constraint": "definition", "column": "generated"}
"""For each kind of object with computed values, the field that has the expression."""


def check_stored_expressions(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about replaced functions that indexes, constraints and generated columns call."""
    for change in context.changes(Op.CHANGED, "function"):
        if "definition" not in change.fields or not context.existed(change.key):
            continue
        for user, table in _users(context, change.key):
            if not (user.kind == "index" and _is_rebuilt(context, table)):
                yield context.finding(
                    "CM039",
                    Severity.WARNING,
                    user.identity,
                    f"its values of existing rows come from the old {change.key.identity}",
                    relation=context.live_relation(table),
                )


def _users(context: StatementContext, function: ObjectKey) -> Iterator[tuple[ObjectKey, ObjectKey]]:
    """Yield the objects from before the plan that store what a function returns, each with its table."""
    call = function.identity.partition("(")[0] + "("
    tables = {str(key): key for key in context.before if key.kind in STORING}
    for key, fields in context.before.items():
        table = tables.get(fields.get("of") or "")
        expression = fields.get(_EXPRESSION_FIELDS.get(key.kind, "")) or ""
        if table is not None and call in expression and context.existed(key):
            yield key, table


def _is_rebuilt(context: StatementContext, table: ObjectKey) -> bool:
    """Return whether a later statement builds indexes of the table."""
    return any(
        work.task is Task.INDEX_BUILD and work.relation == table.identity
        for later in context.plan.statements[context.index + 1 :]
        if later.statement.database == context.statement.database
        for work in later.statement.work
    )
