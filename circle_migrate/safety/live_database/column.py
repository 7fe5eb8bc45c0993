"""Columns and relations that change or go: nulls, values that do not fit the new type, what would be lost."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.safety.live_database.question import ProbeContext, Question, counted
from circle_migrate.safety.live_database.record import ProbeKind
from circle_migrate.safety.live_database.renames import STORING, NoLiveName, column_of
from circle_migrate.safety.live_database.type_change import Conversion
from circle_migrate.safety.trace.record import Task

_TYPES = ("enum", "domain", "composite type", "range type")
_FILLED_BY_ITSELF = ("default", "generated", "identity")


def column_questions(situation: ProbeContext) -> Iterator[Question]:
    """The questions of all columns and relations that a statement changes or drops."""
    for change in situation.done.statement.changes:
        if change.key.kind == "column" and _stored(change):
            yield from _of_column(change, situation)
        elif change.key.kind in STORING and change.op is Op.REMOVED:
            yield from _lost_rows(change, situation)
        elif change.key.kind == "constraint":
            yield from _newly_validated(change, situation)
        elif change.key.kind == "domain" and change.fields.get("not_null", ("", ""))[1] == "yes":
            yield from _nulls_of_domain(change, situation)
    yield from _truncated(situation)


def _stored(change: Change) -> bool:
    return change.owner is not None and change.owner.kind in STORING


def _of_column(change: Change, situation: ProbeContext) -> Iterator[Question]:
    if change.op is Op.REMOVED:
        yield from _lost_values(change, situation)
    elif change.op is Op.ADDED:
        yield from _required(change, situation)
    else:
        yield from _nulls(change, situation)
        yield from _converted(change, situation)


def _lost_values(change: Change, situation: ProbeContext) -> Iterator[Question]:
    column, done = column_of(change), situation.done
    if column.relation in done.gone or column in done.columns or _says(change, "inherited", "generated"):
        return
    live = situation.before.column(*column)
    relation = situation.before.relation(column.relation)
    if live is NoLiveName.BORN or relation is NoLiveName.BORN:
        return
    if column in done.unsure or isinstance(live, NoLiveName) or isinstance(relation, NoLiveName):
        name = column.relation if isinstance(relation, NoLiveName) else relation
        yield Question(ProbeKind.VALUES, name, change.key.identity, unknown=NoLiveName.UNSURE.value)
        return
    yield Question(ProbeKind.VALUES, relation, change.key.identity, counted(relation, f"{live} IS NOT NULL"))


def _lost_rows(change: Change, situation: ProbeContext) -> Iterator[Question]:
    """A table or materialized view that goes; the rows of partitions are those of the parent."""
    name, done = change.key.identity, situation.done
    live = situation.before.relation(name)
    parents = (change.fields.get("partition_of", (None, None))[0] or "").split("\n")
    if live is NoLiveName.BORN or name in done.relations or not done.gone.isdisjoint(parents):
        return
    if name in done.unsure or isinstance(live, NoLiveName):
        yield Question(ProbeKind.ROWS, name, name, unknown=NoLiveName.UNSURE.value)
        return
    yield Question(ProbeKind.ROWS, live, name, counted(live, ""))


def _truncated(situation: ProbeContext) -> Iterator[Question]:
    for work in situation.done.statement.work:
        live = situation.before.relation(work.relation)
        if work.task is Task.TRUNCATE and not isinstance(live, NoLiveName):
            yield Question(ProbeKind.ROWS, live, work.relation, counted(live, ""))


def _required(change: Change, situation: ProbeContext) -> Iterator[Question]:
    """A new column that every row needs a value for and nothing fills: all rows there are would have none."""
    column = column_of(change)
    renamed = column in situation.done.columns.values()
    if renamed or column.relation in situation.done.come or _says(change, "inherited", *_FILLED_BY_ITSELF):
        return
    if _says(change, "not_null") and not _not_validated(change, situation):
        yield from situation.about(ProbeKind.NULLS, column.relation, change.key.identity, "")


def _nulls(change: Change, situation: ProbeContext) -> Iterator[Question]:
    if change.fields.get("not_null", ("", ""))[1] == "yes" and not _not_validated(change, situation):
        yield from _null_values(situation, *column_of(change), subject=change.key.identity)


def _newly_validated(change: Change, situation: ProbeContext) -> Iterator[Question]:
    """A NOT NULL that was NOT VALID until now; once it is valid only the column tells of it."""
    before = change.fields.get("definition", (None, None))[0] or ""
    validated = change.fields.get("validated", (None, None))
    if change.owner is None or validated[0] != "no" or not before.startswith("NOT NULL "):
        return
    name = split_identity(change.key.identity)[-1]
    column = before.removeprefix("NOT NULL ").removesuffix(" NOT VALID").removesuffix(" NO INHERIT")
    dropped = any(
        column_of(each) == (change.owner.identity, column)
        and each.fields.get("not_null", ("", ""))[1] is None
        for each in (*situation.done.of(Op.CHANGED, "column"), *situation.done.of(Op.REMOVED, "column"))
    )
    if not dropped and change.owner.identity not in situation.done.gone:
        subject = f"{change.owner.identity}.{name}"
        yield from _null_values(situation, change.owner.identity, column, subject=subject)


def _not_validated(change: Change, situation: ProbeContext) -> bool:
    """Whether the statement makes the column NOT NULL for new rows only."""
    column = column_of(change)
    return any(
        each.of == change.of
        and str(each.fields.get("definition", ("", ""))[1]).startswith(f"NOT NULL {column.name} ")
        and each.fields.get("validated", (None, None))[1] == "no"
        for each in situation.done.of(Op.ADDED, "constraint")
    )


def _null_values(situation: ProbeContext, relation: str, column: str, *, subject: str) -> Iterator[Question]:
    live = situation.after.column(relation, column)
    test = live if isinstance(live, NoLiveName) else f"{live} IS NULL"
    yield from situation.about(ProbeKind.NULLS, relation, subject, test)


def _nulls_of_domain(change: Change, situation: ProbeContext) -> Iterator[Question]:
    if change.op is not Op.CHANGED:
        return
    domain = change.key.identity
    if situation.uses is None:
        yield Question(
            ProbeKind.NULLS, domain, domain, unknown="which columns are of the domain is not known"
        )
        return
    for relation, name in situation.uses.domains.get(domain, ()):
        yield Question(
            ProbeKind.NULLS, relation, domain, counted(relation, f"{name} IS NULL"), related=(relation,)
        )


def _converted(change: Change, situation: ProbeContext) -> Iterator[Question]:
    old, new = change.fields.get("type", (None, None))
    if old is None or new is None or _type_renamed(old, new, situation):
        return
    column, subject = column_of(change), change.key.identity
    live = situation.after.column(*column)
    relation = situation.after.relation(column.relation)
    if live is NoLiveName.BORN or relation is NoLiveName.BORN:
        return
    if isinstance(live, NoLiveName) or isinstance(relation, NoLiveName):
        yield from situation.about(ProbeKind.UNCASTABLE, column.relation, subject, NoLiveName.UNSURE)
        return
    sql = situation.done.statement.sql
    for doubt in Conversion(live, column.name, old, new, sql, situation.labels).doubts():
        if doubt.unknown:
            yield Question(doubt.ask, relation, subject, unknown=doubt.unknown)
            continue
        # A cast that fails for one value fails the query; each value has to be cast for that.
        casts = f"SELECT count({doubt.cast}) * 0 FROM {relation}"
        query = casts if doubt.cast else counted(relation, doubt.condition)
        yield Question(doubt.ask, relation, subject, query, related=(relation, column.relation))


def _type_renamed(old: str, new: str, situation: ProbeContext) -> bool:
    """Whether it is the type itself that has another name now."""
    gone = {change.key.identity for change in situation.done.of(Op.REMOVED, *_TYPES)}
    come = {change.key.identity for change in situation.done.of(Op.ADDED, *_TYPES)}
    return old.removesuffix("[]") in gone and new.removesuffix("[]") in come


def _says(change: Change, *names: str) -> bool:
    """Whether a column that came or went has any of these fields."""
    return any(side is not None for name in names for side in change.fields.get(name, ()))
