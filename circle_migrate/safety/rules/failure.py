"""Check whether steps fail: on a scratch database, or on the rows of the live database."""

from collections.abc import Iterator, Mapping

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.sql_text import compile_pattern, without_comments_and_literals
from circle_migrate.safety.hazards.hazard import SQLSTATES
from circle_migrate.safety.live_database.record import STORING, Answer, ProbeKind
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.context import CatalogState, PlanContext, StatementContext
from circle_migrate.safety.rules.evidence import format_size, is_empty
from circle_migrate.safety.rules.table_work import is_required
from circle_migrate.safety.trace.record import ServerError, Task

_HAZARDS: Mapping[ProbeKind, str] = {
    ProbeKind.NULLS: "CM020",
    ProbeKind.DUPLICATES: "CM023",
    ProbeKind.ORPHANS: "CM024",
    ProbeKind.VIOLATIONS: "CM025",
    ProbeKind.UNCASTABLE: "CM026",
    ProbeKind.TOO_LONG: "CM027",
    ProbeKind.CUT: "CM016",
    ProbeKind.BEHIND: "CM032",
    ProbeKind.REFUSED: "CM029",
    ProbeKind.INSERTS: "CM029",
}
"""The hazard of each kind of probe that counts rows; `data_loss` handles VALUES and ROWS."""

_SQLSTATES = {"check": "23514", "foreign key": "23503", "exclusion": "23P01"}

_RESTART = compile_pattern(
    r"\bALTER\s+(?:SEQUENCE|TABLE)\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?P<name>\S+)\s.*\bRESTART\b"
)
_FILLS_ROWS = compile_pattern(r"\bBEFORE\b.*\bINSERT\b.* FOR EACH ROW ")
_PROVED = frozenset({ProbeKind.NULLS, ProbeKind.VIOLATIONS})
_PARAMETER = "bind parameter"
_LOCAL_TIME, _POINT_IN_TIME = "timestamp without time zone", "timestamp with time zone"


def check_failures(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about whether a statement fails or changes values by mistake."""
    if context.statement.error is not None:
        yield _error(context, context.statement.error)
        return
    for change in context.added:
        stored = change.owner is not None and change.owner.kind in STORING
        if stored and is_required(change) and context.existed(change.owner):
            yield _required_column(context, change)
    yield from _shifted_times(context)
    yield from _restarted_sequence(context)
    yield from _unseen_code(context)


def check_probe_answers(plan: PlanContext) -> Iterator[HazardFinding]:
    """Yield findings for the answers of live databases."""
    added = ((context.index, change) for context in plan.statements for change in context.added)
    required = {(index, change.key.identity) for index, change in added if is_required(change)}
    for answer in plan.evidence.answers:
        probe = answer.probe
        if probe.kind in _HAZARDS and (probe.statement, probe.subject) not in required:
            yield from _probe_answer(plan.statements[probe.statement], answer)


def _probe_answer(context: StatementContext, answer: Answer) -> Iterator[HazardFinding]:
    probe = answer.probe
    proved = bool(context.statement.validated_constraints) and probe.kind in _PROVED
    if answer.count == 0 or (answer.count is None and proved):
        return
    fixed = answer.count is None and bool(probe.fixed_by) and bool(probe.query)
    unknown = Severity.NOTE if fixed else Severity.WARNING
    constraint = context.after.get(ObjectKey("constraint", probe.subject), {})
    rule = _HAZARDS[probe.kind]
    if probe.kind is ProbeKind.DUPLICATES and constraint.get("type") == "exclusion":
        rule = "CM025"
    reason = f"could not check for {probe.kind}: {answer.why}"
    if answer.count is not None:
        reason = answer.text
    severity, confidence = (Severity.ERROR, Confidence.LIVE) if answer.count else (unknown, None)
    if answer.count and probe.kind is ProbeKind.INSERTS:
        severity = severity_of_missing_value(ObjectKey("table", probe.relation), context.last)
        reason = f"{probe.kind} fails ({_SQLSTATES.get(constraint.get('type') or '', '23505')})"
    yield context.finding(
        rule, severity, probe.subject, reason, relation=probe.relation, confidence=confidence
    )


def _required_column(context: StatementContext, change: Change) -> HazardFinding:
    """Return a finding for a new NOT NULL column: neither existing rows nor the application have a value."""
    relation = context.live_relation(change.owner)
    answer = context.answer(ProbeKind.NULLS, change.key.identity)
    size = context.size(relation)
    severity, reason = Severity.ERROR, f"every row needs a value; the table is {format_size(size)}"
    if answer is not None and answer.count is None:
        reason = f"an INSERT that omits the column fails; could not check for rows: {answer.why}"
    elif answer.count == 0 if answer is not None else is_empty(size):
        severity = severity_of_missing_value(change.owner, context.last)
        reason = "the table is empty; an INSERT that omits the column fails"
    confidence = Confidence.LIVE if answer is not None and answer.count else None
    subject = change.key.identity
    return context.finding("CM028", severity, subject, reason, relation=relation, confidence=confidence)


def severity_of_missing_value(table: ObjectKey | None, catalog: CatalogState) -> Severity:
    """Return ERROR for a column that INSERT has to list, WARNING if a trigger of the table may fill it."""
    triggers = (fields for key, fields in catalog.items() if key.kind == "trigger")
    definitions = (fields.get("definition") or "" for fields in triggers if fields.get("of") == str(table))
    return Severity.WARNING if any(map(_FILLS_ROWS.search, definitions)) else Severity.ERROR


def _shifted_times(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for timestamps that get a time zone, rewritten because TimeZone is not UTC."""
    if not any(work.task is Task.REWRITE for work in context.statement.work):
        return
    for change in context.changes(Op.CHANGED, "column"):
        types = {str(side).partition("(")[0] for side in change.fields.get("type", ())}
        if types == {_LOCAL_TIME, _POINT_IN_TIME} and context.existed(change.key):
            reason = "values are read as times of the session's TimeZone, which is not UTC"
            name, owner = change.key.identity, change.owner
            yield context.finding("CM016", Severity.WARNING, name, reason, relation=owner)


def _unseen_code(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for code that gets rows of a table, which is empty on the scratch database."""
    statement, deletions = context.statement, context.statement.read_by_code
    tables = [
        name
        for name in statement.relations_in_text
        if context.holds_rows(name) and not is_empty(context.size(name))
    ]
    if deletions is not None and tables:
        reason = (
            f"the code gets rows of {tables[0]}, which the scratch database lacks; what it does with them"
        )
        reason += f" is not seen{deletions and f', such as {deletions}'}"
        severity = Severity.ERROR if deletions else Severity.NOTE
        yield context.finding("CM060", severity, tables[0], reason, relation=tables[0])


def _restarted_sequence(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for a restart, which the catalog does not show, that no probe has compared."""
    restart = _RESTART.search(without_comments_and_literals(context.statement.sql))
    probed = any(
        answer.probe.kind is ProbeKind.BEHIND and answer.probe.statement == context.index
        for answer in context.plan.evidence.answers
    )
    if restart is not None and not probed:
        name = restart["name"]
        reason = "the sequence is restarted; whether a column has values ahead of it was not checked"
        yield context.finding("CM032", Severity.WARNING, name, reason, confidence=Confidence.STATIC)


def _error(context: StatementContext, error: ServerError) -> HazardFinding:
    reason = f"failed on a scratch database: {error}"
    if error.lacked:
        reason += f"; {error.lacked}"
        return context.finding("CM060", Severity.WARNING, context.statement.qualified, reason)
    hazard = "CM043" if not error.sqlstate and _PARAMETER in error.message else "CM021"
    known = SQLSTATES.get(error.sqlstate) if hazard == "CM021" else None
    reason += f". {known.remedy}" if known is not None else ""
    return context.finding(hazard, Severity.ERROR, error.sqlstate or "statement", reason)
