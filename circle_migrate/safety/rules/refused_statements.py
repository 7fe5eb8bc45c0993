"""Check what refuses statements of the running release: triggers, rules, row security, privileges."""

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.sql_text import compile_pattern
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import RELATIONS, CatalogState, StatementContext

_EVERY_ROLE = "public"
"""The role PUBLIC, as snapshots print access control lists."""

_COMMANDS = ("INSERT", "UPDATE", "DELETE", "SELECT")
_USED_BY_STATEMENTS = frozenset({*_COMMANDS, "EXECUTE", "USAGE"})

# A trigger with WHEN, and a function that first tests something, may accept what the release writes.
_TRIGGER = compile_pattern(
    r"CREATE (?:CONSTRAINT )?TRIGGER .* (?P<time>BEFORE|AFTER|INSTEAD OF) (?P<events>[^()]*) ON .*"
    r" FOR EACH (?P<level>ROW|STATEMENT) EXECUTE FUNCTION (?P<function>[^()]+)\(.*\)"
)
_BEGIN = r"AS \$function\$(?:.*?\n)?\s*(?:DECLARE\b.*?)?\bBEGIN(?:\s|--[^\n]*\n)+"
_RAISES = compile_pattern(rf"{_BEGIN}RAISE\b(?!\s+(?:DEBUG|LOG|INFO|NOTICE|WARNING)\b)")
_SKIPS = compile_pattern(rf"{_BEGIN}RETURN\s+NULL\s*;")
_DISCARDS = compile_pattern(r"\n\s+ON (INSERT|UPDATE) TO \S+ DO INSTEAD NOTHING;")
_ENABLED = ("origin", "always")

_Refusal = tuple[str, ObjectKey, str]
"""A hazard, the object that it is about, and the reason."""


def check_refused_statements(contexts: tuple[StatementContext, ...]) -> Iterator[HazardFinding]:
    """Yield a finding for what refuses statements after the transaction, and did not before it."""
    last = contexts[-1]
    if any(context.statement.error for context in contexts):
        return
    for context in contexts:
        if context.before and context.statement.changes:
            new = set(_refusals(context.after)) - set(_refusals(context.before))
            for hazard, key, reason in sorted(new.intersection(_refusals(last.after))):
                owner = ObjectKey.parse(context.after[key].get("of") or str(key))
                if context.existed(owner):
                    yield context.finding(hazard, Severity.ERROR, key.identity, reason, relation=owner)
            yield from _lost_privileges(context, last)


def _refusals(catalog: CatalogState) -> Iterator[_Refusal]:
    """Yield what refuses every statement of a kind."""
    policies = [(fields.get("of"), fields) for key, fields in catalog.items() if key.kind == "policy"]
    for key, fields in catalog.items():
        definition = fields.get("definition") or ""
        if key.kind == "rule" and (match := _DISCARDS.search(definition)):
            yield "CM029", key, f"{match[1]} has no effect"
        elif key.kind == "trigger" and fields.get("enabled") in _ENABLED and "inherited" not in fields:
            match = _TRIGGER.fullmatch(definition)
            body = catalog.get(ObjectKey("function", f"{match['function']}()"), {}) if match else {}
            text = body.get("definition") or ""
            if match and _RAISES.search(text):
                yield "CM029", key, f"its function raises an error at each {match['events']}"
            elif match and match["time"] != "AFTER" and match["level"] == "ROW" and _SKIPS.search(text):
                yield "CM029", key, f"its function skips the row of each {match['events']}"
        elif fields.get("rls"):
            yield from _rows_refused(key, fields, [policy for of, policy in policies if of == str(key)])


def _rows_refused(table: ObjectKey, fields: Fields, policies: list[Fields]) -> Iterator[_Refusal]:
    """Yield the roles with a privilege on a table that no policy gives a row, or one gives none."""
    for role, privilege in _privileges_by_role(fields):
        if privilege not in _COMMANDS or (role == fields.get("owner") and not fields.get("rls_forced")):
            continue
        permits = set()
        for policy in policies:
            roles = (policy.get("roles") or "").split("\n")
            if policy.get("command") in (privilege, "ALL") and {role, _EVERY_ROLE}.intersection(roles):
                rows = policy.get("using") if privilege in ("SELECT", "DELETE") else policy.get("check")
                permits.add((policy.get("permissive"), (rows or policy.get("using")) != "false"))
        if ("yes", True) not in permits or ("no", False) in permits:
            who = "roles" if role == _EVERY_ROLE else role
            effect = "fails (42501)" if privilege == "INSERT" else "finds no row"
            yield "CM034", table, f"{privilege} by {who} {effect}, unless the role has BYPASSRLS"


def _lost_privileges(context: StatementContext, last: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about privileges that a statement removes and the transaction does not restore."""
    new_owners = {change.key for change in context.statement.changes if "owner" in change.fields}
    for change in context.statement.changes:
        key, before = change.key, context.before.get(change.key)
        kinds = RELATIONS if key.kind in RELATIONS else (key.kind,)
        keys = [ObjectKey(kind, key.identity) for kind in kinds]
        if before is None or not context.existed(key) or not any(known in last.after for known in keys):
            continue
        after = next(last.after[known] for known in keys if known in last.after)
        if before.get("owner") != after.get("owner"):
            if change.owner not in new_owners:  # an owned sequence gets the owner of its table
                reason = f"it belongs to {after.get('owner')} now"
                yield context.finding("CM038", Severity.WARNING, key.identity, reason)
            continue
        kept = set(_privileges_by_role(after))
        now = set(_privileges_by_role(context.after.get(key, {})))
        lost = [
            (role, privilege)
            for role, privilege in _privileges_by_role(before)
            if (role, privilege) not in kept | now and (_EVERY_ROLE, privilege) not in kept
        ]
        for role in dict.fromkeys(role for role, _ in lost):
            names = [privilege for name, privilege in lost if name == role]
            fails = role != _EVERY_ROLE and not _USED_BY_STATEMENTS.isdisjoint(names)
            reason = f"{role} can no longer {', '.join(names)}"
            severity = Severity.ERROR if fails else Severity.WARNING
            yield context.finding("CM038", severity, key.identity, reason)
        if any(role == _EVERY_ROLE for role, _ in kept.intersection(now) - set(_privileges_by_role(before))):
            yield context.finding("CM038", Severity.NOTE, key.identity, "every role may use it now")


def _privileges_by_role(fields: Fields) -> Iterator[tuple[str, str]]:
    """Yield (role, privilege) for the access control list of an object as snapshots print it."""
    for line in (fields.get("acl") or "").split("\n"):
        role, _, privileges = line.rpartition(": ")
        yield from ((role, privilege) for privilege in privileges.split(", ") if role)
