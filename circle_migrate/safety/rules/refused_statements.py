"""Check what refuses statements of the running release: triggers, rules, row security, privileges."""

import re
from collections.abc import Collection, Iterator, Mapping

from circle_migrate.core.findings import Severity
from circle_migrate.diff.ddl.attributes import parse_acl
from circle_migrate.postgres.catalog.snapshot import Change, Fields, ObjectKey, Op
from circle_migrate.postgres.identifier import IDENTIFIER, schema_of, unquote, unquote_and_fold
from circle_migrate.postgres.sql_text import (
    compile_pattern,
    mentions,
    own_name,
    without_comments_and_literals,
)
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import RELATIONS, CatalogState, StatementContext

_EVERY_ROLE = "public"
_COMMANDS = ("INSERT", "UPDATE", "DELETE", "SELECT")
_PREDEFINED = {"SELECT": "pg_read_all_data", "USAGE": "pg_read_all_data"} | dict.fromkeys(
    ("INSERT", "UPDATE", "DELETE"), "pg_write_all_data"
)
"""The predefined role that has a privilege on every object."""

# A trigger with WHEN, and a function that first tests something, may accept what the release writes.
_TRIGGER = compile_pattern(
    r"CREATE (?:CONSTRAINT )?TRIGGER .* (?P<time>BEFORE|AFTER|INSTEAD OF) (?P<events>[^()]*) ON .*"
    r" FOR EACH (?P<level>ROW|STATEMENT)(?P<condition> WHEN \(.*\))?"
    r" EXECUTE FUNCTION (?P<function>[^()]+)\(.*\)"
)
_REFUSES = compile_pattern(
    r"AS \$function\$(?:.*?\n)?\s*(?:DECLARE\b.*?)?\bBEGIN(?:\s|--[^\n]*\n)+"
    r"(?:RAISE\b(?!\s+(?:DEBUG|LOG|INFO|NOTICE|WARNING)\b)|(?P<skips>RETURN\s+NULL\s*;))"
)
_DISCARDS = compile_pattern(r"\n\s+ON (INSERT|UPDATE) TO \S+ DO INSTEAD NOTHING;")

_NAME = rf"(?:{IDENTIFIER}\s*\.\s*)?{IDENTIFIER}"
_BODY = compile_pattern(r"\bAS \$(function|procedure)\$(?P<body>.*)\$\1\$")
_CATCHES = compile_pattern(r"\bEXCEPTION\s+WHEN\b|\bCREATE\b")
_CONDITIONAL = compile_pattern(r"\b(?:THEN|LOOP|RETURN)\b")
_FIELD = compile_pattern(rf"\b(?:NEW|OLD)\s*\.\s*(?P<name>{IDENTIFIER})")
_TARGET = compile_pattern(
    rf"\b(?:INSERT\s+INTO|DELETE\s+FROM|UPDATE(?=\s+{_NAME}\s+SET\b))\s+(?:ONLY\s+)?(?P<name>{_NAME})"
)
_ROLE = r"\b(?:ROLE|USER(?!\s+MAPPING\b)|GROUP)\s+"
_NAMES = rf"{IDENTIFIER}(?:\s*,\s*{IDENTIFIER})*"
_LOST_ROLES = compile_pattern(
    rf"\bDROP\s+{_ROLE}(?P<if_exists>IF\s+EXISTS\s+)?(?P<dropped>{_NAMES})"
    rf"|\bALTER\s+{_ROLE}(?P<renamed>{IDENTIFIER})\s+RENAME\b"
    rf"|\bALTER\s+{_ROLE}(?P<locked_out>{IDENTIFIER})\s[^;]*\bNOLOGIN\b"
    rf"|\bREVOKE\s+(?P<groups>{_NAMES})\s+FROM\s+(?P<members>{_NAMES})"
)
_ROLE_EFFECTS = {
    "dropped": ("CM035", Severity.ERROR, "its sessions and SET ROLE fail"),
    "renamed": ("CM030", Severity.ERROR, "its sessions and SET ROLE fail with the old name"),
    "locked_out": ("CM038", Severity.ERROR, "it can no longer log in"),
    "members": ("CM038", Severity.WARNING, "it no longer has the privileges of {groups}"),
}
_SYSTEM_COLUMNS = frozenset({"ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"})

Refusal = tuple[str, ObjectKey, str, Severity]
"""A hazard, an object, the reason and the severity."""


def role_losses(sql: str) -> Iterator[tuple[str, str, bool, str]]:
    """Yield a role, what it loses, whether only IF EXISTS, and the groups that it leaves, for a statement."""
    text = without_comments_and_literals(sql)
    for match in _LOST_ROLES.finditer(sql if text[:2].upper() == "DO" else text):
        for effect in filter(match.group, _ROLE_EFFECTS):
            for name in re.findall(IDENTIFIER, match[effect]):
                yield name, effect, bool(match["if_exists"]), match["groups"] or ""


def check_roles(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for each role that a statement drops, renames or locks out."""
    known = context.usage.inherited_roles
    roles = None if known is None else set(map(unquote, known))
    for name, effect, if_exists, groups in role_losses(context.statement.sql):
        creates = re.compile(rf"(?i)\bCREATE\s+{_ROLE}{re.escape(name)}(?!\w)")
        is_new = any(creates.search(other.statement.sql) for other in context.plan.statements)
        is_absent = if_exists and roles is not None and unquote_and_fold(name) not in roles
        if not is_new and not is_absent:
            rule, severity, reason = _ROLE_EFFECTS[effect]
            yield context.finding(rule, severity, name, reason.format(groups=groups))


def check_refused_statements(contexts: tuple[StatementContext, ...]) -> Iterator[HazardFinding]:
    """Yield a finding for what refuses statements after the transaction, and did not before it."""
    last, errors = contexts[-1], [context.statement.error for context in contexts]
    failed = any(error is not None and not error.lacked for error in errors)
    for context in () if failed else contexts:
        if context.before and any(map(_may_refuse, context.statement.changes)):
            before = context.before
            new = {*_refusals(context.after, before)} - {*_refusals(before, before)}
            for rule, key, reason, severity in sorted(new & {*_refusals(last.after, before)} if new else ()):
                owner = ObjectKey.parse(context.after[key].get("of") or str(key))
                if context.existed(owner):
                    yield context.finding(rule, severity, key.identity, reason, relation=owner)
        yield from _lost_privileges(context, last)


def _may_refuse(change: Change) -> bool:
    """Return whether the change is of a kind for which the whole catalog is searched."""
    access = {"rls", "rls_forced", "acl", "owner"} if change.op is Op.CHANGED else set()
    if change.op is Op.REMOVED and change.key.kind in {*RELATIONS, "column", "sequence"}:
        return True
    return change.key.kind in {"policy", "trigger", "rule", "function"} or bool(access & change.fields.keys())


def _refusals(catalog: CatalogState, previous: CatalogState) -> Iterator[Refusal]:
    """Yield what refuses every statement of a kind, or a function that names what `previous` had."""
    lost = _lost_names(catalog, previous)
    for key, fields in catalog.items():
        definition = fields.get("definition") or ""
        if key.kind == "rule" and (match := _DISCARDS.search(definition)):
            yield "CM029", key, f"{match[1]} has no effect", Severity.ERROR
        elif key.kind == "trigger" and fields.get("enabled") in ("origin", "always"):
            yield from _refused_by_trigger(catalog, previous, key, lost)
        elif key.kind in ("function", "procedure") and lost and "\n RETURNS trigger\n" not in definition:
            for name in _named_in(_code(definition), lost):
                yield "CM035", key, f"it names {name}, which does not exist", Severity.WARNING
        elif fields.get("rls"):
            policies = (other for part, other in catalog.items() if part.kind == "policy")
            yield from _rows_refused(key, fields, [policy for policy in policies if policy["of"] == str(key)])


def _lost_names(catalog: CatalogState, previous: CatalogState) -> Mapping[str, str]:
    """Return names that no longer mean anything, each with a name beside which it is used, or "".

    That is the table of a column.
    """
    kinds = {*RELATIONS, "sequence", "function", "procedure"}
    present = {own_name(key.identity) for key in catalog if key.kind in kinds}
    names = (key for key in previous if key not in catalog) if previous is not catalog else ()
    lost = {}
    for key in names:
        name = own_name(key.identity)
        if key.kind in kinds and name not in present:
            lost[name] = ""
        elif key.kind == "column":
            lost[name] = own_name(ObjectKey.parse(previous[key].get("of") or "").identity)
    return lost


def _named_in(code: str, lost: Mapping[str, str]) -> Iterator[str]:
    for name, other in lost.items():
        if mentions(code, name) and (not other or mentions(code, other)):
            yield name


def _code(definition: str) -> str:
    """Return the body of a function without comments and literals."""
    match = _BODY.search(definition)
    return without_comments_and_literals(match["body"]) if match else ""


def _refused_by_trigger(
    catalog: CatalogState, previous: CatalogState, key: ObjectKey, lost: Mapping[str, str]
) -> Iterator[Refusal]:
    fields = catalog[key]
    trigger = _TRIGGER.fullmatch(fields.get("definition") or "")
    function = ObjectKey("function", f"{trigger['function']}()" if trigger else "")
    definition = catalog.get(function, {}).get("definition") or ""
    if trigger is None or not definition:
        return
    match = _REFUSES.search(definition)
    skips = match and match["skips"]
    always = not trigger["condition"]
    if match and always and not (skips and (trigger["time"], trigger["level"]) != ("BEFORE", "ROW")):
        effect = "skips the row of" if skips else "raises an error at"
        yield "CM029", key, f"its function {effect} each {trigger['events']}", Severity.ERROR
    code = _code(definition)
    if catalog[function].get("language") != "plpgsql" or _CATCHES.search(code):
        return
    certain = code[: branch.start()] if (branch := _CONDITIONAL.search(code)) else code
    others = (of for part, of in catalog.items() if part.kind == "trigger" and part != key)
    shared = any(mentions(of.get("definition") or "", trigger["function"]) for of in others)
    unchanged = previous.get(key) == fields and previous.get(function) == catalog[function]
    for part, severity in ((certain, Severity.ERROR), (code, Severity.WARNING)):
        if part is certain or unchanged or not shared:  # code under a condition may be for another table
            names = {*_named_in(part, lost), *_unknown_names(part, catalog, fields.get("of") or "")}
            for name in sorted(names):
                yield (
                    "CM029",
                    key,
                    f"its function names {name}, which does not exist",
                    severity if always else Severity.WARNING,
                )


def _unknown_names(code: str, catalog: CatalogState, table: str) -> Iterator[str]:
    """Yield the columns of NEW and OLD, and the targets of writes, that do not exist."""
    if table.startswith("table "):
        columns = {
            own_name(key.identity)
            for key, of in catalog.items()
            if key.kind == "column" and of.get("of") == table
        }
        fields = {unquote_and_fold(match["name"]) for match in _FIELD.finditer(code)}
        yield from fields - columns - _SYSTEM_COLUMNS
    relations = {key.identity for key in catalog if key.kind in RELATIONS}
    names = {own_name(identity) for identity in relations}
    schemas = {schema_of(identity) for identity in relations}
    for match in _TARGET.finditer(code):
        name = ".".join(unquote_and_fold(part.strip()) for part in match["name"].split("."))
        schema, _, own = name.rpartition(".")
        if own not in names and (not schema or schema in schemas):
            yield name


def _rows_refused(table: ObjectKey, fields: Fields, policies: list[Fields]) -> Iterator[Refusal]:
    """Yield the roles with a privilege on a table of which no policy gives them a row, or one gives none."""
    for role, privilege in privileges_by_role(fields):
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
            reason = f"{privilege} by {role} {effect}, unless the role has BYPASSRLS"
            yield "CM034", table, reason, Severity.ERROR


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
        had, kept = set(privileges_by_role(before)), set(privileges_by_role(after))
        now = set(privileges_by_role(context.after.get(key, {})))
        table = last.after.get(change.owner, {}) if change.owner and key.kind == "column" else {}
        holders = kept.union(privileges_by_role(table))
        roles = context.usage.inherited_roles or {}
        lost = sorted(pair for pair in had - now - kept if not _holds(*pair, holders, roles))
        for role in dict(lost):
            names = [privilege for name, privilege in lost if name == role]
            used = role != _EVERY_ROLE and not {*_COMMANDS, "EXECUTE", "USAGE"}.isdisjoint(names)
            severity, reason = Severity.WARNING, f"{role} can no longer {', '.join(names)}"
            yield context.finding("CM038", Severity.ERROR if used else severity, key.identity, reason)
        if any(role == _EVERY_ROLE for role, _ in now.intersection(kept) - had):
            yield context.finding("CM038", Severity.NOTE, key.identity, "every role may use it now")


def _holds(
    role: str, privilege: str, holders: Collection[tuple[str, str]], roles: Mapping[str, Collection[str]]
) -> bool:
    """Return whether a role has a privilege, itself or by PUBLIC or a role whose privileges it inherits."""
    names = {role, _EVERY_ROLE, *roles.get(role, ())}
    return any((name, privilege) in holders for name in names) or _PREDEFINED.get(privilege) in names


def privileges_by_role(fields: Fields) -> Iterator[tuple[str, str]]:
    """Yield (role, privilege) for the access control list of an object as snapshots print it."""
    return ((role, name) for role, granted in parse_acl(fields.get("acl")).items() for name in granted)
