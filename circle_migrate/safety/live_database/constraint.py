"""New rules for rows that are there already: unique keys, foreign keys, checks, of tables and of domains."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.safety.live_database.parse_definition import (
    Uniqueness,
    UnreadableError,
    condition,
    reference,
    rewritten,
    uniqueness,
)
from circle_migrate.safety.live_database.question import ProbeContext, Question, counted
from circle_migrate.safety.live_database.record import ProbeKind
from circle_migrate.safety.live_database.renames import STORING, NoLiveName
from circle_migrate.safety.trace.record import Task

_ENFORCING = STORING | {"domain"}
_RULES = ("constraint", "index", "domain constraint")
_PARENT_IS_NEW = "the plan makes what the foreign key refers to, and its rows"


def constraint_questions(situation: ProbeContext) -> Iterator[Question]:
    """The questions of all constraints and indexes that a statement makes or validates."""
    for change in situation.done.statement.changes:
        if change.owner is None or change.owner.kind not in _ENFORCING or not _is_new_rule(change, situation):
            continue
        if change.owner.kind in STORING:
            yield from _of_relation(change, change.owner.identity, situation)
        else:
            yield from _of_domain(change, change.owner.identity, situation)
    yield from _of_partitions(situation)


def _of_relation(change: Change, relation: str, situation: ProbeContext) -> Iterator[Question]:
    definition = str(change.fields["definition"][1])
    subject = change.key.identity
    word = definition.partition(" ")[0].upper()
    ask, question = {
        "FOREIGN": (ProbeKind.ORPHANS, _orphans),
        "CHECK": (ProbeKind.VIOLATIONS, _violations),
    }.get(word, (ProbeKind.DUPLICATES, _duplicates))
    try:
        yield from question(situation, relation, subject, definition)
    except UnreadableError as error:
        yield from situation.unknown(ask, relation, subject, str(error))


def _is_new_rule(change: Change, situation: ProbeContext) -> bool:
    """Whether rows that are there have to keep what the change says, and did not before."""
    if change.op is Op.REMOVED or change.key.kind not in _RULES:
        return False
    definition = change.fields.get("definition", (None, None))[1]
    if definition is None or not _checks_rows(change, definition):
        return False
    if change.op is Op.CHANGED and "validated" not in change.fields:
        return not situation.done.renames and not _retyped(change, situation)
    return not (_inherited(change, situation) or _was_there(change, definition, situation))


def _checks_rows(change: Change, definition: str) -> bool:
    if change.key.kind == "index":
        return definition.startswith("CREATE UNIQUE ") and "no" not in change.fields.get("valid", ())
    validated = change.fields.get("validated", (None, None))[1] != "no"
    return validated and not definition.startswith(("NOT NULL ", "TRIGGER"))


def _retyped(change: Change, situation: ProbeContext) -> bool:
    """Whether a column of the relation has another type, with which definitions are printed otherwise."""
    return any(
        each.of == change.of and "type" in each.fields for each in situation.done.of(Op.CHANGED, "column")
    )


def _inherited(change: Change, situation: ProbeContext) -> bool:
    """Whether the parent's own rule, which covers its partitions, is asked about instead."""
    if "yes" not in change.fields.get("inherited", ()):
        return False
    return change.owner is None or change.owner.identity not in _attached(situation)


def _attached(situation: ProbeContext) -> frozenset[str]:
    """The tables that a statement makes a partition of another."""
    return frozenset(
        change.key.identity for change in situation.done.of(Op.CHANGED, "table") if _is_partition(change)
    )


def _is_partition(change: Change) -> bool:
    return change.fields.get("partition_of", (None, None))[1] is not None


def _was_there(change: Change, definition: str, situation: ProbeContext) -> bool:
    """Whether the same rule held by another name, also as the index that a constraint takes over."""
    done = situation.done
    if change.owner is not None and change.owner.identity in done.unsure.union(done.relations.values()):
        return True
    rule = _rule(definition)
    olds = (
        each.fields.get("definition", (None, None))[0]
        for each in done.statement.changes
        if each.op is not Op.ADDED
        and each.key.kind in _RULES
        and each.of == change.of
        and each.fields.get("validated", (None, None))[0] != "no"
        and each.fields.get("valid", (None, None))[0] != "no"
    )
    return any(old is not None and _rule(old) == rule for old in olds)


def _rule(definition: str) -> Uniqueness | str:
    """What a definition demands, the same for a unique index and a constraint."""
    if definition.startswith(("CREATE INDEX", "CHECK", "FOREIGN")):
        return definition
    try:
        return uniqueness(definition)
    except UnreadableError:
        return definition


def _duplicates(
    situation: ProbeContext, relation: str, subject: str, definition: str
) -> tuple[Question, ...]:
    wanted = uniqueness(definition)
    keys = [situation.expression(relation, key) for key in wanted.keys]
    among = situation.expression(relation, wanted.predicate or "")
    live = situation.after.relation(relation)
    absent = next(
        (no_live_name for no_live_name in (*keys, among, live) if isinstance(no_live_name, NoLiveName)), None
    )
    if absent is not None:
        return situation.about(ProbeKind.DUPLICATES, relation, subject, absent)
    columns = [str(key) for key in keys]
    conditions = [str(among)] if among else []
    if wanted.nulls_distinct:
        conditions += [f"({key}) IS NOT NULL" for key in columns]
    grouped = f" GROUP BY {', '.join(columns)} HAVING count(*) > 1"
    query = counted(str(live), " AND ".join(conditions), grouped)
    return (Question(ProbeKind.DUPLICATES, str(live), subject, query, related=(str(live), relation)),)


def _orphans(situation: ProbeContext, relation: str, subject: str, definition: str) -> tuple[Question, ...]:
    wanted = reference(definition)
    parent = situation.after.relation(wanted.relation)
    child = [situation.after.column(relation, name) for name in wanted.columns]
    referred = [situation.after.column(wanted.relation, name) for name in wanted.referred]
    absent = next((no_live_name for no_live_name in child if isinstance(no_live_name, NoLiveName)), None)
    if absent is not None:
        return situation.about(ProbeKind.ORPHANS, relation, subject, absent)
    if isinstance(parent, NoLiveName) or any(isinstance(each, NoLiveName) for each in referred):
        return situation.unknown(ProbeKind.ORPHANS, relation, subject, _PARENT_IS_NEW)
    live = situation.after.relation(relation)
    own = [f"child.{name}" for name in child]
    pairs = " AND ".join(f"parent.{other} = {name}" for name, other in zip(own, referred, strict=True))
    alone = f"NOT EXISTS (SELECT 1 FROM {parent} AS parent WHERE {pairs})"
    filled = " AND ".join(f"{name} IS NOT NULL" for name in own)
    some = " OR ".join(f"{name} IS NOT NULL" for name in own)
    test = f"({some}) AND {alone}" if wanted.full else f"{filled} AND {alone}"
    related = (str(live), relation, parent, wanted.relation)
    return (
        Question(ProbeKind.ORPHANS, str(live), subject, counted(f"{live} AS child", test), related=related),
    )


def _violations(
    situation: ProbeContext, relation: str, subject: str, definition: str
) -> tuple[Question, ...]:
    test = situation.expression(relation, condition(definition))
    wrong = test if isinstance(test, NoLiveName) else f"NOT {test}"
    return situation.about(ProbeKind.VIOLATIONS, relation, subject, wrong)


def _of_domain(change: Change, domain: str, situation: ProbeContext) -> Iterator[Question]:
    """A domain's new condition, for each column of the domain; VALUE stands for the column in it."""
    subject = change.key.identity
    if situation.uses is None:
        yield Question(
            ProbeKind.VIOLATIONS, domain, subject, unknown="which columns are of the domain is not known"
        )
        return
    test = condition(str(change.fields["definition"][1]))
    for column in situation.uses.domains.get(domain, ()):
        query = counted(column.relation, "NOT " + rewritten(test, {"VALUE": column.name}))
        yield Question(ProbeKind.VIOLATIONS, column.relation, subject, query, related=(column.relation,))


def _of_partitions(situation: ProbeContext) -> Iterator[Question]:
    """Rows that a new partition may not have, or has to have, where no constraint proves where they belong.

    They are read in a table that becomes a partition, and in the default partition beside a new one.
    """
    attached = _attached(situation)
    made = any(_is_partition(change) for change in situation.done.of(Op.ADDED, "table"))
    scanned = {work.relation for work in situation.done.statement.work if work.task is Task.SCAN}
    for relation in sorted(scanned) if attached or made else ():
        why = "whether rows of the default partition belong into the new one is not asked"
        if relation in attached:
            why = "whether the rows lie within the partition's bounds is not asked"
        yield from situation.unknown(ProbeKind.VIOLATIONS, relation, relation, why)
