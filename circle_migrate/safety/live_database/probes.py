"""Derive probes of live rows from the catalogue changes and the work of a plan's statements.

A probe counts up to LIMIT rows and one more; where there are fewer, it reads the table to its end or to the
time limit of `run_probes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from circle_migrate.postgres.catalog.enum_labels import labels
from circle_migrate.postgres.catalog.snapshot import Op
from circle_migrate.postgres.identifier import split_identity, unquote_and_fold
from circle_migrate.safety.live_database.column import column_probes
from circle_migrate.safety.live_database.constraint import constraint_probes
from circle_migrate.safety.live_database.probe_context import (
    LiveNames,
    ProbeContext,
    StatementRenames,
    new_value,
)
from circle_migrate.safety.live_database.record import ObjectUsage, Probe, ProbeKind
from circle_migrate.safety.live_database.sequence import sequence_probes
from circle_migrate.safety.trace.record import Lock, Task, TracedStatement

_WRITING = frozenset({Task.INSERT, Task.UPDATE, Task.DELETE, Task.TRUNCATE})
_CAN_WRITE = re.compile(
    r"\s*(?:INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|WITH|DO|CALL|SELECT)\b", re.IGNORECASE
)
_WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE)\b", re.IGNORECASE)
_SETS_SEQUENCE = re.compile(r"\b(?:setval\s*\(|RESTART\b)", re.IGNORECASE)

_LOSSES = frozenset({ProbeKind.ROWS, ProbeKind.VALUES})
"""Kinds that no earlier statement fixes: the rows it changes are dropped as well."""


def derive_probes(
    statements: Sequence[TracedStatement], usage: Mapping[str, ObjectUsage] | None = None
) -> tuple[Probe, ...]:
    """Return the probes of the live databases for these statements, in the order of the plan.

    `usage` has the facts that only the live catalogue has, by database; probes that need them are unknown
    without it. Objects that the plan creates have no probe, renamed ones are probed by their live names.
    """
    probes: list[Probe] = []
    for index, context in enumerate(_contexts(statements, usage or {})):
        for derive in (column_probes, constraint_probes, sequence_probes):
            probes += (
                replace(
                    probe,
                    database=statements[index].database,
                    statement=index,
                    fixed_by=_fixed_by(probe, statements, index),
                )
                for probe in derive(context)
            )
    return tuple(dict.fromkeys(probes))


def _contexts(
    statements: Sequence[TracedStatement], usage: Mapping[str, ObjectUsage]
) -> Iterator[ProbeContext]:
    """Yield each statement with the names and types after the earlier statements of its database."""
    last: dict[str, ProbeContext] = {}
    for statement in statements:
        database, renames = statement.database, StatementRenames(statement)
        previous = last.get(database) or ProbeContext(renames, LiveNames(), LiveNames(), {}, {}, None)
        last[database] = ProbeContext(
            renames,
            before=previous.after,
            after=previous.after.after(renames),
            labels={**previous.labels, **_labels(renames)},
            starts={**previous.starts, **_starts(renames)},
            usage=usage.get(database),
        )
        yield last[database]


def _labels(renames: StatementRenames) -> dict[str, tuple[str, ...]]:
    return {
        change.key.identity: tuple(labels(field))
        for op in (Op.ADDED, Op.CHANGED)
        for change in renames.changes(op, "enum")
        if (field := new_value(change, "labels")) is not None
    }


def _starts(renames: StatementRenames) -> dict[str, str]:
    created = () if renames.is_rename else renames.changes(Op.ADDED, "sequence")
    return {change.key.identity: change.fields["start"][1] or "1" for change in created}


def _fixed_by(probe: Probe, statements: Sequence[TracedStatement], index: int) -> str:
    """Return the revision that changes the rows before a statement, or the sequence after it; else "".

    A lock or the work in the trace shows a write; the text does where a stronger lock was already held.
    """
    database = statements[index].database
    if probe.kind is ProbeKind.BEHIND:
        names = (probe.relation, *probe.related)
        first = index if probe.subject in probe.related else -1
        for position, statement in enumerate(statements):
            is_candidate = position != index and position > first and statement.database == database
            if is_candidate and _SETS_SEQUENCE.search(statement.sql) and _names_any(statement, names):
                return statement.revision
    elif probe.kind not in _LOSSES:
        for statement in reversed(statements[: index + 1]):
            if statement.database == database and any(_writes(statement, name) for name in probe.related):
                return statement.revision
    return ""


def _writes(statement: TracedStatement, relation: str) -> bool:
    if statement.acquired.get(relation) is Lock.RowExclusive:
        return True
    if any(work.task in _WRITING and work.relation == relation for work in statement.work):
        return True
    sql = statement.sql
    return bool(_CAN_WRITE.match(sql) and _WRITES.search(sql)) and _names_any(statement, (relation,))


def _names_any(statement: TracedStatement, relations: Sequence[str]) -> bool:
    """Return whether the statement has the unqualified name of one of the relations as a word."""
    names = "|".join(re.escape(unquote_and_fold(split_identity(name)[-1])) for name in relations)
    return re.search(rf"(?<!\w)(?:{names})(?!\w)", statement.sql, re.IGNORECASE) is not None
