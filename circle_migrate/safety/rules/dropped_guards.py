"""Check dropped or disabled protections: constraints, triggers, policies, replica identities."""

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.identifier import IDENTIFIER
from circle_migrate.postgres.sql_text import compile_pattern, own_name
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import ARBITERS, CatalogState, StatementContext

_NOT_NULL = compile_pattern(rf"CHECK \(\(({IDENTIFIER}) IS NOT NULL\)\)(?: NO INHERIT)?(?: NOT VALID)?")
_REFERENCE = compile_pattern(r"FOREIGN KEY \(.*?\) REFERENCES .*?\(.*?\)")
_COLUMNS = compile_pattern(r"(?:PRIMARY KEY|UNIQUE(?: NULLS NOT DISTINCT)?) (?P<columns>\(.*?\))")
_UNIQUE = compile_pattern(r"CREATE UNIQUE INDEX .*? USING btree (?P<columns>\(.*\).*)")
_REPLICATION_ROLE = compile_pattern(r"\bsession_replication_role\b")
_REWRITING = {
    "rule": "statements run other commands than before",
    "policy": "roles see other rows than before",
}


def check_dropped_guards(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about constraints, triggers and policies that are dropped or changed."""
    for change in context.dropped:
        definition = change.old("definition")
        if change.key.kind == "constraint":
            yield from _constraint(context, change, definition)
        elif change.key.kind == "index" and (unique := _UNIQUE.fullmatch(definition)):
            yield from _constraint(context, change, f"UNIQUE {unique['columns']}")
    for change in context.changes(Op.CHANGED, "column"):
        if change.fields.get("not_null", ("", ""))[1] is None and context.existed(change.owner):
            yield context.finding("CM037", Severity.NOTE, change.key.identity, "the column accepts null now")
    yield from _disabled(context)


def _constraint(context: StatementContext, change: Change, definition: str) -> Iterator[HazardFinding]:
    owner = change.owner
    if owner is None or owner in context.removed or change.has("inherited"):
        return
    dropped_columns = {own_name(key.identity) for key in context.removed if key.kind == "column"}
    if any(name in definition for name in dropped_columns):
        return
    if _still_holds(definition, owner, context):
        if change.old("type") in ARBITERS and change.key not in context.last:
            reason = f"ON CONFLICT ON CONSTRAINT {own_name(change.key.identity)} fails (42704)"
            yield context.finding("CM035", Severity.WARNING, change.key.identity, reason, relation=owner)
        return
    reason = f"no other constraint enforces {definition}"
    yield context.finding("CM037", Severity.WARNING, change.key.identity, reason, relation=owner)


def _still_holds(definition: str, owner: ObjectKey, context: StatementContext) -> bool:
    """Return whether another constraint or index enforces the same, after the plan at the latest."""
    rule = definition.removesuffix(" NOT VALID")
    match = _NOT_NULL.fullmatch(definition)
    column = context.after.get(ObjectKey("column", f"{owner.identity}.{match[1]}"), {}) if match else {}
    if column.get("not_null"):
        return True
    definitions = [
        fields.get("definition") or ""
        for key, fields in (*context.after.items(), *context.last.items())
        if fields.get("of") == str(owner) and key.kind in ("constraint", "index")
    ]
    if any(other.removesuffix(" NOT VALID") == rule for other in definitions):
        return True
    reference, unique = _REFERENCE.match(rule), _COLUMNS.match(rule)
    if reference is not None:
        return any(other.startswith(reference[0]) for other in definitions)
    return unique is not None and any(
        other.startswith(("CREATE UNIQUE", "UNIQUE", "PRIMARY"))
        and unique["columns"] in other
        and (" WHERE " in rule or " WHERE " not in other)
        for other in definitions
    )


def _disabled(context: StatementContext) -> Iterator[HazardFinding]:
    if _REPLICATION_ROLE.search(context.statement.sql):
        reason = "triggers and foreign keys do not fire"
        yield context.finding("CM034", Severity.WARNING, "session_replication_role", reason)
    for change in context.statement.changes:
        reason = _disabled_reason(context, change)
        owner = change.key if change.key.kind == "table" else change.owner
        if reason and (context.existed(owner) or change.op is Op.REMOVED) and owner not in context.removed:
            severity = Severity.NOTE if change.key.kind == "rule" else Severity.WARNING
            yield context.finding("CM034", severity, change.key.identity, reason, relation=owner)


def _disabled_reason(context: StatementContext, change: Change) -> str:
    """Describe what no longer works after a change; empty if the change disables nothing."""
    kind, fields = change.key.kind, change.fields
    if kind in _REWRITING and change.key not in context.renamed:
        return _REWRITING[kind] if kind == "rule" or _uses_policies(context, change) else ""
    if change.op is not Op.CHANGED:
        return ""
    if kind == "table" and fields.keys() & {"rls", "rls_forced"} and not _shows_all_rows(context, change.key):
        return "all rows are hidden without a policy" if change.new("rls") else _REWRITING["policy"]
    disabled = ("disabled", "replica")
    if kind == "trigger" and change.new("enabled") in disabled:
        return "the trigger does not fire"
    if kind == "constraint" and any(word in change.new("triggers") for word in disabled):
        return "the foreign key is not checked"
    return ""


def _uses_policies(context: StatementContext, change: Change) -> bool:
    """Return whether row-level security is enabled for the table, which is assumed if it is not known."""
    owner = change.owner
    if owner is None or owner not in context.after:
        return True
    return context.after[owner].get("rls") == "enabled" and not _shows_all_rows(context, owner)


def _shows_all_rows(context: StatementContext, table: ObjectKey) -> bool:
    """Return whether every role sees and writes all rows, before the transaction and after it."""
    contexts = context.plan.transactions[context.transaction]
    return all(_is_open(catalog, table) for catalog in (contexts[0].before, contexts[-1].after))


def _is_open(catalog: CatalogState, table: ObjectKey) -> bool:
    policies = [
        fields for key, fields in catalog.items() if key.kind == "policy" and fields.get("of") == str(table)
    ]
    commands = {
        policy["command"]
        for policy in policies
        if policy["permissive"] == "yes"
        and policy["roles"] == "public"
        and {policy.get("using"), policy.get("check")} <= {None, "true"}
    }
    restricted = any(policy["permissive"] != "yes" for policy in policies)
    is_complete = "ALL" in commands or {"SELECT", "INSERT", "UPDATE", "DELETE"} <= commands
    return not catalog.get(table, {}).get("rls") or (is_complete and not restricted)


def check_replication(contexts: tuple[StatementContext, ...]) -> Iterator[HazardFinding]:
    """Yield findings about published tables without a replica identity when a transaction ends."""
    if any(context.statement.error for context in contexts):
        return
    last = contexts[-1]
    published = _published_tables(last)
    for table in sorted(published):
        key = ObjectKey("table", table)
        if key not in last.after or not last.existed(key) or _has_identity(last.after, key):
            continue
        with_identity = (context for context in contexts if _has_identity(context.before, key))
        losing = next((context for context in with_identity if not _has_identity(context.after, key)), None)
        if losing is not None:
            reason = f"{table} is published, and nothing identifies the rows that an UPDATE or DELETE changes"
            yield losing.finding("CM033", Severity.ERROR, table, reason, relation=losing.root(table))
    yield from _newly_published(contexts, published)


def _newly_published(contexts: tuple[StatementContext, ...], published: set[str]) -> Iterator[HazardFinding]:
    for context in contexts:
        for change in context.statement.changes:
            if change.key.kind != "publication" or change.op is Op.REMOVED:
                continue
            before, after = (set(side.split("\n")) for side in (change.old("tables"), change.new("tables")))
            for table in sorted((after - before) & published):
                key = ObjectKey("table", table)
                identity = _has_identity(contexts[-1].after, key)
                if context.existed(key) and key in context.after and not identity:
                    reason = f"{table} is published without a replica identity"
                    yield context.finding("CM033", Severity.ERROR, table, reason)


def _published_tables(context: StatementContext) -> set[str]:
    publications = [fields for key, fields in context.after.items() if key.kind == "publication"]
    tables = {table for fields in publications for table in (fields.get("tables") or "").split("\n")}
    if any(fields.get("all_tables") for fields in publications):
        tables |= {key.identity for key in context.after if key.kind == "table"}
    return tables.union(context.usage.published) - {""}


def _has_identity(catalog: CatalogState, table: ObjectKey) -> bool:
    """Return whether a table has a replica identity, by which subscribers identify rows."""
    identity = catalog.get(table, {}).get("replica_identity")
    if identity in ("full", "nothing"):
        return identity == "full"
    parts = [(key, fields) for key, fields in catalog.items() if fields.get("of") == str(table)]
    if identity == "index":
        return any(fields.get("replica_identity") == "yes" for _, fields in parts)
    return any(fields.get("type") == "primary key" for key, fields in parts if key.kind == "constraint")
