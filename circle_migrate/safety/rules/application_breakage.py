"""Find changes that break statements of the running application, or that another database contradicts."""

from collections.abc import Iterator, Mapping

from circle_migrate.config.relation import ColumnReference
from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.sql_text import compile_pattern, mentions, own_name, view_columns
from circle_migrate.safety.live_database.record import STORING, TYPES, ProbeKind
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import (
    ARBITERS,
    RELATIONS,
    CatalogState,
    PlanContext,
    StatementContext,
)
from circle_migrate.safety.rules.failure import severity_of_missing_value
from circle_migrate.safety.rules.routine_calls import (
    ROUTINES,
    accepts_calls,
    check_argument_names,
    check_overloads,
)
from circle_migrate.safety.rules.row_estimate import WRITING

_NAMED_ALONE = ROUTINES | {"schema", "operator", "collation", "text search configuration"}
_NAMED_IN_QUERIES = RELATIONS | TYPES | _NAMED_ALONE | {"sequence"}
"""Kinds whose names applications use in their statements."""

_WITHOUT_ROWS = (RELATIONS - STORING) | _NAMED_ALONE | {"trigger", "extension", "cast"}
"""Kinds without rows: only the name is lost with them."""

_PARTS = {
    "enum": "labels",
    "composite type": "attributes",
    "view": "definition",
    "materialized view": "definition",
}
"""For each kind with parts that queries name and that are no objects, the field that has them."""

# https://www.postgresql.org/docs/current/sql-createview.html#SQL-CREATEVIEW-UPDATABLE-VIEWS
_READ_ONLY_VIEW = compile_pattern(
    r"\b(?:JOIN|WITH|DISTINCT|WHERE|GROUP BY|HAVING|LIMIT|OFFSET|UNION|INTERSECT|EXCEPT)\b|\("
)

_SECRET = compile_pattern(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|salt|otp|totp|pin_code|private_key|api_key|access_key"
    r"|encryption_key|refresh_token|access_token|token|credentials?|password_hash|hashed_\w+|\w+_hash)(?:$|_hash$)"
)


def check_removed_names(contexts: tuple[StatementContext, ...]) -> Iterator[HazardFinding]:
    """Yield a finding for each name that no longer resolves after the transaction."""
    errors = (context.statement.error for context in contexts)
    if any(error is not None and not error.lacked for error in errors):
        return
    for context in contexts:
        for old in context.renamed:
            if context.origin(old) == old and not _still_resolves(contexts, old):
                yield from _renamed(context, old)
        for name, new in context.statement.replaced_names.items():
            table = ObjectKey("table", name)
            if context.existed(table) and not _is_filled(contexts[-1], table):
                reason = f"it is renamed to {new}, and the old name means another object"
                yield context.finding("CM030", Severity.ERROR, name, reason, relation=table)
        yield from _lost_parts(context, contexts[-1].after)
        for change in context.changes(Op.CHANGED, "extension"):
            if "schema" in change.fields and context.existed(change.key):
                reason = f"its objects are in the schema {change.new('schema')} now"
                yield context.finding("CM030", Severity.ERROR, change.key.identity, reason)
        yield from check_overloads(context, contexts[-1].after)
        for change in context.changes(Op.CHANGED, "column"):
            yield from _lost_default(context, change, contexts[-1].after)
        yield from _dropped(contexts, context)


def _dropped(contexts: tuple[StatementContext, ...], context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for each dropped object without rows, and for routines made anew with other names."""
    for change in context.dropped:
        owner = change.owner
        if change.key.kind in ROUTINES:
            yield from check_argument_names(context, change.key, contexts[-1].after)
        if (
            (change.key.kind in _WITHOUT_ROWS or (owner is not None and owner.kind == "foreign table"))
            and owner not in context.removed
            and not _still_resolves(contexts, change.key)
        ):
            name = own_name(change.key.identity)
            severity, reason = Severity.ERROR, f"statements that use {name} fail"
            if change.key.kind == "trigger":
                severity, reason = Severity.WARNING, "the trigger no longer fires"
            yield context.finding("CM035", severity, change.key.identity, reason)


def _renamed(context: StatementContext, old: ObjectKey) -> Iterator[HazardFinding]:
    """Yield a finding for a renamed object, but not for the parts of a renamed relation or schema."""
    new = context.renamed[old]
    owner = next((change.owner for change in context.changes(Op.REMOVED) if change.key == old), None)
    if owner in context.renamed:
        return
    if old.kind == "column":
        if owner is None or owner.kind not in RELATIONS:
            return
    elif old.kind == "constraint" and context.before[old].get("type") in ARBITERS:
        reason = f"it is renamed to {new.identity}: ON CONFLICT ON CONSTRAINT with the old name fails (42704)"
        yield context.finding("CM030", Severity.WARNING, old.identity, reason, relation=owner)
        return
    elif old.kind not in _NAMED_IN_QUERIES:
        return
    if old.kind not in ("column", "schema") and any(key.kind == "schema" for key in context.renamed):
        return
    is_taken = any(key.identity == old.identity for key in context.last)
    state = "means another object" if is_taken else "does not exist"
    reason = f"it is renamed to {new.identity}, and the old name {state} after the transaction"
    relation = owner if old.kind == "column" else old
    yield context.finding("CM030", Severity.ERROR, old.identity, reason, relation=relation)


def _still_resolves(contexts: tuple[StatementContext, ...], key: ObjectKey) -> bool:
    """Return whether the name means the same after the transaction, or an object that can replace it."""
    before, last, after = contexts[0].before, contexts[-1], contexts[-1].after
    current = next((new for new in after if last.origin(new) == key), None)
    if current == key:
        return True
    if key.kind in RELATIONS:
        candidates = (new for kind in RELATIONS if (new := ObjectKey(kind, key.identity)) in after)
        fitting = (new for new in candidates if _can_replace(before, key, after, new))
        return any(current is None or _has_rows_of(last, new, current) for new in fitting)
    if key.kind in ROUTINES:
        return any(new.kind in ROUTINES and accepts_calls(before, key, after, new) for new in after)
    fields = after.get(key)
    if fields is None or key.kind == "schema":
        renamed = (old for context in contexts for old in context.renamed if old.kind in RELATIONS)
        return fields is not None and all(_still_resolves(contexts, old) for old in renamed)
    if key.kind in ("column", "sequence"):
        table = fields.get("of")
        return last.existed(key) or (table is not None and _is_filled(last, ObjectKey.parse(table)))
    types = {(field.get("type") or "").removesuffix("[]") for field in after.values()}
    labels, new_labels = (set((state[key].get("labels") or "").split("\n")) for state in (before, after))
    return labels <= new_labels and (current is None or current.identity not in types)


def _has_rows_of(last: StatementContext, new: ObjectKey, renamed: ObjectKey) -> bool:
    """Return whether a relation shows the rows of the renamed one, or has got rows of its own."""
    fields, container = last.after[new], last.after[renamed].get("partition_of") or ""
    if new.kind != "table":
        return mentions(fields.get("definition") or "", own_name(renamed.identity))
    return last.existed(new) or container.split("\n")[0] == new.identity or _is_filled(last, new)


def _is_filled(last: StatementContext, table: ObjectKey) -> bool:
    """Return whether a statement of the plan writes the rows of a table, under any of its names."""
    names, statements = {table}, last.plan.statements
    for context in reversed(statements):
        names |= {old for old, new in context.renamed.items() if new in names}
    return any(
        (names & context.new and mentions(context.statement.sql, "SELECT"))
        or any(
            work.task in WRITING and ObjectKey("table", work.relation) in names
            for work in context.statement.work
        )
        for context in statements
    )


def _can_replace(before: CatalogState, old: ObjectKey, after: CatalogState, new: ObjectKey) -> bool:
    """Return whether a relation has the columns of another one and can be written to if that one could."""
    must_be_writable = old.kind in STORING and new.kind == "view"
    if must_be_writable and _READ_ONLY_VIEW.search(after[new].get("definition") or ""):
        return False
    return _columns(before, old) <= _columns(after, new)


def _columns(catalog: CatalogState, relation: ObjectKey) -> set[str]:
    """Return the names of a relation's columns; a view has them only in its definition."""
    if relation.kind == "view":
        return set(view_columns(catalog.get(relation, {}).get("definition") or ""))
    return {
        own_name(key.identity)
        for key, fields in catalog.items()
        if key.kind == "column" and fields.get("of") == str(relation)
    }


def _lost_parts(context: StatementContext, last: CatalogState) -> Iterator[HazardFinding]:
    """Yield a finding for values, attributes and columns that a type or view loses in the transaction."""
    for change in context.changes(Op.CHANGED, *_PARTS):
        old, new = _part_names(change.key, context.before), _part_names(change.key, context.after)
        origin = context.origin(change.key)
        known = _part_names(origin or change.key, context.first) if context.first else old
        missing = sorted(set(known).intersection(old).difference(new, _part_names(change.key, last)))
        is_replaced = change.key.kind == "enum" and len(new) < len(old)  # which `data_loss` finds
        if missing and origin is not None and not is_replaced:
            verb = "renamed" if len(new) == len(old) else "dropped"
            reason = f"{', '.join(missing)} is {verb}"
            yield context.finding("CM030", Severity.ERROR, change.key.identity, reason)


def _part_names(key: ObjectKey, catalog: CatalogState) -> list[str]:
    """Return the labels of an enum, the attributes of a composite type, or the columns of a view."""
    text = catalog.get(key, {}).get(_PARTS[key.kind]) or ""
    if _PARTS[key.kind] == "definition":
        return view_columns(text)
    return [line if key.kind == "enum" else line.partition(" ")[0] for line in text.split("\n")]


def check_alterations(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for each column that gets the type json, or that INSERT has to list or to leave out."""
    reason = "json has no equality: DISTINCT, GROUP BY and UNION over the table's columns fail (42883)"
    for change in (*context.added, *context.changes(Op.CHANGED, "column")):
        if _is_in_existing_table(context, change) and change.new("type") == "json":
            name = change.key.identity
            yield context.finding("CM031", Severity.WARNING, name, reason, relation=change.owner)
    for change in context.changes(Op.CHANGED, "column"):
        before = context.first.get(context.origin(change.key) or change.key, {})
        if change.new("identity").startswith("always") and before.get("not_null") and not _has_value(before):
            reason = "INSERTs list the column, as it had no default, and fail now (428C9)"
            yield context.finding("CM029", Severity.ERROR, change.key.identity, reason, relation=change.owner)
        elif change.new("identity").startswith("always") and before.get("identity"):
            answer = context.answer(ProbeKind.GIVEN, change.key.identity)
            given = answer is not None and bool(answer.count)
            severity, rows = (
                Severity.WARNING,
                "" if answer is None or answer.count is None else "; no row has one",
            )
            if given:
                severity, rows = Severity.ERROR, "; rows have values that the sequence has not yielded"
            reason = f"an INSERT with a value for the column fails now (428C9){rows}"
            yield context.finding("CM029", severity, change.key.identity, reason, relation=change.owner)
    for change in context.changes(Op.CHANGED, "domain"):
        if change.old("default") and not change.new("default"):
            yield from _lost_domain_default(context, change.key)


def _lost_domain_default(context: StatementContext, domain: ObjectKey) -> Iterator[HazardFinding]:
    """Yield a finding for each required column that had its default from its domain."""
    for key, fields in context.after.items():
        table = ObjectKey.parse(fields.get("of") or "")
        has_type = key.kind == "column" and fields.get("type") == domain.identity
        if has_type and fields.get("not_null") and not _has_value(fields) and context.existed(table):
            severity = severity_of_missing_value(table, context.last)
            reason = "an INSERT that omits the column fails (23502)"
            yield context.finding("CM036", severity, key.identity, reason, relation=table)


def _is_in_existing_table(context: StatementContext, change: Change) -> bool:
    """Return whether a change is of a column whose table existed before the plan."""
    owner = change.owner
    return (
        change.key.kind == "column" and owner is not None and owner.kind in STORING and context.existed(owner)
    )


def _lost_default(context: StatementContext, change: Change, last: CatalogState) -> Iterator[HazardFinding]:
    """Yield a finding for a column that INSERT must list after the commit; `last` is the catalog then."""
    before, now, later = (catalog.get(change.key, {}) for catalog in (context.before, last, context.last))
    if not _is_in_existing_table(context, change) or _has_value(now):
        return
    lost = _has_value({name: sides[0] for name, sides in change.fields.items()})
    stricter = now.get("not_null") and not before.get("not_null") and context.before
    if not (stricter or (lost and now.get("not_null") == "yes")):
        return
    answer = context.answer(ProbeKind.GIVEN, change.key.identity)
    fails = not (answer is not None and answer.count) if lost else not context.existed(change.key)
    severity = severity_of_missing_value(change.owner, last) if fails else Severity.NOTE
    reason = "an INSERT that omits the column fails (23502)"
    if fails and _has_value(later):
        severity, reason = Severity.WARNING, f"{reason} until a later revision of this run"
    yield context.finding("CM036", severity, change.key.identity, reason, relation=change.owner)


def _has_value(column: Mapping[str, str | None]) -> bool:
    """Return whether a column gets a value if an INSERT omits it."""
    return any(column.get(field) for field in ("default", "identity", "generated"))


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
        kind, name = change.key.kind, own_name(change.key.identity)
        elsewhere = (other for other in context.plan.statements if other.statement.database != database)
        later = (other for other in elsewhere if other.statement.segment > segment)
        created = ((other.statement, added.key) for other in later for added in other.added)
        same = (by for by, key in created if key.kind == kind and own_name(key.identity) == name)
        target = next(same, None)
        if target is not None:
            reason = f"{target.database} gets it in segment {target.segment}, after segment {segment} commits"
            yield context.finding("CM070", Severity.WARNING, change.key.identity, reason)


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
                if type_ != change.new("type"):
                    reason = f"{partner} holds the same keys and is {type_ or 'of unknown type'}"
                    yield context.finding("CM072", Severity.WARNING, change.key.identity, reason)


def _is_column(column: ColumnReference, database: str, key: ObjectKey) -> bool:
    suffix = column.within if column.schema else f".{column.within}"
    return column.database == database and f".{key.identity}".endswith(suffix)


def _type(plan: PlanContext, column: ColumnReference) -> str | None:
    for key, fields in plan.last.get(column.database, {}).items():
        if key.kind == "column" and _is_column(column, column.database, key):
            return fields.get("type")
    return None
