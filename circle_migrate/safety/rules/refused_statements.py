"""Check what refuses statements of the running release: triggers, rules, row security, privileges."""

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, Fields, ObjectKey, Op
from circle_migrate.postgres.sql_text import compile_pattern
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import RELATIONS, CatalogState, StatementContext

_EVERY_ROLE = "public"
_COMMANDS = ("INSERT", "UPDATE", "DELETE", "SELECT")

# A trigger with WHEN, and a function that first tests something, may accept what the release writes.
_TRIGGER = compile_pattern(
    r"CREATE (?:CONSTRAINT )?TRIGGER .* (?P<time>BEFORE|AFTER|INSTEAD OF) (?P<events>[^()]*) ON .*"
    r" FOR EACH (?P<level>ROW|STATEMENT) EXECUTE FUNCTION (?P<function>[^()]+)\(.*\)"
)
_REFUSES = compile_pattern(
    r"AS \$function\$(?:.*?\n)?\s*(?:DECLARE\b.*?)?\bBEGIN(?:\s|--[^\n]*\n)+"
    r"(?:RAISE\b(?!\s+(?:DEBUG|LOG|INFO|NOTICE|WARNING)\b)|(?P<skips>RETURN\s+NULL\s*;))"
)
_DISCARDS = compile_pattern(r"\n\s+ON (INSERT|UPDATE) TO \S+ DO INSTEAD NOTHING;")


def check_refused_statements(contexts: tuple[StatementContext, ...]) -> Iterator[HazardFinding]:
    """Yield a finding for what refuses statements after the transaction, and did not before it."""
    last, errors = contexts[-1], [context.statement.error for context in contexts]
    failed = any(error is not None and not error.lacked for error in errors)
    for context in () if failed else contexts:
        if context.before and any(map(_may_refuse, context.statement.changes)):
            new = set(_refusals(context.after)) - set(_refusals(context.before))
            for rule, key, reason in sorted(new.intersection(_refusals(last.after)) if new else ()):
                owner = ObjectKey.parse(context.after[key].get("of") or str(key))
                if context.existed(owner):
                    yield context.finding(rule, Severity.ERROR, key.identity, reason, relation=owner)
        yield from _lost_privileges(context, last)


def _may_refuse(change: Change) -> bool:
    """Return whether the change is of a kind for which the whole catalog is searched."""
    access = {"rls", "rls_forced", "acl", "owner"} if change.op is Op.CHANGED else set()
    return change.key.kind in {"policy", "trigger", "rule", "function"} or bool(access & change.fields.keys())


def _refusals(catalog: CatalogState) -> Iterator[tuple[str, ObjectKey, str]]:
    """Yield a hazard, an object and a reason for what refuses every statement of a kind."""
    for key, fields in catalog.items():
        definition = fields.get("definition") or ""
        if key.kind == "rule" and (match := _DISCARDS.search(definition)):
            yield "CM029", key, f"{match[1]} has no effect"
        elif key.kind == "trigger" and fields.get("enabled") in ("origin", "always"):
            trigger = _TRIGGER.fullmatch(definition)
            function = ObjectKey("function", f"{trigger['function']}()" if trigger else "")
            match = _REFUSES.search(catalog.get(function, {}).get("definition") or "")
            skips = match and match["skips"]
            if trigger and match and not (skips and (trigger["time"], trigger["level"]) != ("BEFORE", "ROW")):
                effect = "skips the row of" if skips else "raises an error at"
                yield "CM029", key, f"its function {effect} each {trigger['events']}"
        elif fields.get("rls"):
            policies = (other for part, other in catalog.items() if part.kind == "policy")
            yield from _rows_refused(key, fields, [policy for policy in policies if policy["of"] == str(key)])


def _rows_refused(
    table: ObjectKey, fields: Fields, policies: list[Fields]
) -> Iterator[tuple[str, ObjectKey, str]]:
    """Yield the roles with a privilege on a table of which no policy gives them a row, or one gives none."""
    for role, privilege in _privileges_by_role(fields):
        if privilege not in _COMMANDS or (role == fields["owner"] and not fields.get("rls_forced")):
            continue
        permits = set()
        for policy in policies:
            roles = (policy["roles"] or "").split("\n")
            if policy["command"] in (privilege, "ALL") and {role, _EVERY_ROLE}.intersection(roles):
                rows = policy.get("using" if privilege in ("SELECT", "DELETE") else "check")
                permits.add((policy["permissive"], (rows or policy.get("using")) != "false"))
        if ("yes", True) not in permits or ("no", False) in permits:
            effect = "fails (42501)" if privilege == "INSERT" else "finds no row"
            yield "CM034", table, f"{privilege} by {role} {effect}, unless the role has BYPASSRLS"


def _lost_privileges(context: StatementContext, last: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about privileges that a statement removes and the transaction does not restore."""
    new_owners = {change.key for change in context.statement.changes if "owner" in change.fields}
    for change in context.statement.changes:
        key, before = change.key, context.before.get(change.key)
        kinds = RELATIONS if key.kind in RELATIONS else (key.kind,)
        states = (last.after.get(ObjectKey(kind, key.identity)) for kind in kinds)
        after = next(filter(None, states), None)
        if before is None or after is None or not context.existed(key):
            continue
        if before.get("owner") != after.get("owner"):
            if change.owner not in new_owners:  # an owned sequence gets the owner of its table
                reason = f"it belongs to {after.get('owner')} now"
                yield context.finding("CM038", Severity.WARNING, key.identity, reason)
            continue
        had, kept = set(_privileges_by_role(before)), set(_privileges_by_role(after))
        now = set(_privileges_by_role(context.after.get(key, {})))
        lost = sorted(pair for pair in had - now - kept if (_EVERY_ROLE, pair[1]) not in kept)
        for role in dict(lost):
            names = [privilege for name, privilege in lost if name == role]
            used = role != _EVERY_ROLE and not {*_COMMANDS, "EXECUTE", "USAGE"}.isdisjoint(names)
            severity, reason = Severity.WARNING, f"{role} can no longer {', '.join(names)}"
            yield context.finding("CM038", Severity.ERROR if used else severity, key.identity, reason)
        if any(role == _EVERY_ROLE for role, _ in now.intersection(kept) - had):
            yield context.finding("CM038", Severity.NOTE, key.identity, "every role may use it now")


def _privileges_by_role(fields: Fields) -> Iterator[tuple[str, str]]:
    """Yield (role, privilege) for the access control list of an object as snapshots print it."""
    for line in (fields.get("acl") or "").split("\n"):
        role, _, privileges = line.rpartition(": ")
        yield from ((role, privilege) for privilege in privileges.split(", ") if role)
