"""Which statements of a plan change rows or sequences: what live data breaks now, they may mend first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from circle_migrate.core.identifier import split_identity, unquote_and_fold
from circle_migrate.core.traces import Lock, Task, Traced

_WRITING = frozenset({Task.INSERT, Task.UPDATE, Task.DELETE, Task.TRUNCATE})
_CAN_WRITE = re.compile(
    r"\s*(?:INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|WITH|DO|CALL|SELECT)\b", re.IGNORECASE
)
_WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE)\b", re.IGNORECASE)
_SETS_SEQUENCE = re.compile(r"\b(?:setval\s*\(|RESTART\b)", re.IGNORECASE)


def mending(statements: Sequence[Traced], index: int, names: Iterable[str]) -> str:
    """The revision of a statement, up to the one at `index`, that changes rows of a relation of these names.

    Empty where there is none. A lock or work of the trace proves it; the text has to do where a stronger
    lock was held already.
    """
    names = tuple(names)
    for statement in reversed(statements[: index + 1]):
        ours = statement.database == statements[index].database
        if ours and any(_writes(statement, name) for name in names):
            return statement.revision
    return ""


def sequence_mending(statements: Sequence[Traced], index: int, names: Iterable[str], *, earlier: bool) -> str:
    """The revision of another statement that sets a sequence and names one of these, `earlier` ones too."""
    names = tuple(names)
    for place, statement in enumerate(statements):
        others = place > index or (earlier and place < index)
        ours = others and statement.database == statements[index].database
        if ours and _SETS_SEQUENCE.search(statement.sql) and any(_says(statement, name) for name in names):
            return statement.revision
    return ""


def _writes(statement: Traced, relation: str) -> bool:
    if any(work.task in _WRITING and work.relation == relation for work in statement.work):
        return True
    if statement.acquired.get(relation) is Lock.RowExclusive:
        return True
    can = _CAN_WRITE.match(statement.sql) and _WRITES.search(statement.sql)
    return bool(can) and _says(statement, relation)


def _says(statement: Traced, relation: str) -> bool:
    """Whether the text has the relation's own name as a word."""
    name = re.escape(unquote_and_fold(split_identity(relation)[-1]))
    return re.search(rf"(?<!\w){name}(?!\w)", statement.sql, re.IGNORECASE) is not None
