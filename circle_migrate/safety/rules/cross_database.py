"""Check what a step of one database means for another database."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.config.relation import ColumnReference
from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Op
from circle_migrate.postgres.sql_text import compile_pattern, own_name
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import STORING, PlanContext, StatementContext, new_value

_SECRET = compile_pattern(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|salt|otp|totp|pin_code|private_key|api_key|access_key"
    r"|encryption_key|refresh_token|access_token|token|credentials?|password_hash|hashed_\w+|\w+_hash)(?:$|_hash$)"
)


def check_cross_database(plan: PlanContext) -> Iterator[HazardFinding]:
    """Yield findings that concern two databases."""
    for context in plan.statements:
        if context.statement.error is None:
            yield from _moved(context)
            yield from _secret(context)
            yield from _type_mismatch(context)


def _moved(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for what is dropped here and created in another database in a later segment."""
    database, segment = context.statement.database, context.statement.segment
    for change in context.dropped:
        if change.key.kind not in ("column", "table") or change.owner in context.removed:
            continue
        target = next(
            (
                later.statement
                for later in context.plan.statements
                if later.statement.database != database
                and later.statement.segment > segment
                and _creates(later, change.key)
            ),
            None,
        )
        if target is not None:
            reason = f"{target.database} gets it in segment {target.segment}, after segment {segment} commits"
            yield context.finding("CM070", Severity.WARNING, change.key.identity, reason)


def _creates(context: StatementContext, key: ObjectKey) -> bool:
    """Return whether a statement creates an object of the same kind and name."""
    name = own_name(key.identity)
    return any(added.key.kind == key.kind and own_name(added.key.identity) == name for added in context.added)


def _secret(context: StatementContext) -> Iterator[HazardFinding]:
    home = context.plan.evidence.secrets
    if home is None or context.statement.database == home:
        return
    for change in context.added:
        stored = change.owner is not None and change.owner.kind in STORING
        if change.key.kind == "column" and stored and _SECRET.search(own_name(change.key.identity)):
            reason = f"secrets belong to database {home}"
            yield context.finding("CM071", Severity.WARNING, change.key.identity, reason)


def _type_mismatch(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for a key that two databases share and that has two types after the plan."""
    for change in context.changes(Op.CHANGED, "column"):
        if "type" not in change.fields:
            continue
        for relation in context.plan.evidence.relations:
            sides = [ColumnReference.parse(text) for text in (relation.left, relation.right)]
            own = [column for column in sides if _is_column(column, context.statement.database, change.key)]
            for partner in [column for column in sides if column not in own] if own else ():
                type_ = _type(context.plan, partner)
                if type_ != new_value(change, "type"):
                    reason = f"{partner} holds the same keys and is {type_ or 'of unknown type'}"
                    yield context.finding("CM072", Severity.WARNING, change.key.identity, reason)


def _is_column(column: ColumnReference, database: str, key: ObjectKey) -> bool:
    suffix = column.within if column.schema else f".{column.within}"
    return column.database == database and f".{key.identity}".endswith(suffix)


def _type(plan: PlanContext, column: ColumnReference) -> str | None:
    return next(
        (
            fields.get("type")
            for key, fields in plan.last.get(column.database, {}).items()
            if key.kind == "column" and _is_column(column, column.database, key)
        ),
        None,
    )
