"""The work of one statement, put together from what the server said and from what it left behind.

The messages decide. What PostgreSQL has no message for shows in a new file of a table (CLUSTER, REFRESH,
TRUNCATE) or in its count of scans; rows that are written show in nothing but the lock, as scratch tables
have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from circle_migrate.core.traces import Task, Work
from circle_migrate.tracing.messages import Said
from circle_migrate.tracing.relations import Held, Relation
from circle_migrate.tracing.statements import Writing, truncates, writes, writing

_WRITING = "RowExclusiveLock"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a statement that has run, or has failed.

    `known` are the relations from before the plan, `present` those of now, by oid; `replaced` those that got
    a new file. `foreign_keys` has the tables of foreign keys by their names; `target` is what the statement
    writes to, `named` what else its text names, `bodies` the text of the functions that it calls and
    `looped` what these or a DO block may write, though nothing of it has run.
    """

    sql: str
    said: tuple[Said, ...]
    known: Mapping[int, Relation]
    present: Mapping[int, Relation]
    before: Held
    after: Held
    replaced: frozenset[int] = frozenset()
    foreign_keys: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    target: int | None = None
    named: frozenset[int] = frozenset()
    bodies: str = ""
    looped: Mapping[int, Task] = field(default_factory=dict)

    def name(self, oid: int) -> str | None:
        """A relation's name from before the plan, or the one it was born with."""
        relation = self.known.get(oid) or self.present.get(oid)
        return relation.name if relation else None

    def called(self, relname: str) -> list[int]:
        """The relations that have this name now or had it before, the visible one first."""
        now = sorted(
            (oid for oid, each in self.present.items() if each.relname == relname),
            key=lambda oid: not self.present[oid].visible,
        )
        gone = (oid for oid in self.known.keys() - self.present.keys() if self.known[oid].relname == relname)
        return [*now, *gone]


def work(evidence: Evidence) -> tuple[Work, ...]:
    """All work of the statement that grows with a table."""
    named = list(_named(evidence))
    replaced = list(_replaced(evidence, {each.relation for each in named if each.task is Task.REWRITE}))
    emptied = {each.relation for each in replaced if each.task is Task.TRUNCATE}
    named = [each for each in named if each.relation not in emptied]  # indexes of nothing
    return (*named, *replaced, *_rows(evidence)) or tuple(_scans(evidence))


def _named(evidence: Evidence) -> Iterator[Work]:
    for said in evidence.said:
        found = (
            evidence.called(said.table)
            if said.table
            else evidence.foreign_keys.get(said.constraint or "", ())
        )
        meant = [oid for oid in found if oid in evidence.after.modes or oid in evidence.named] or found
        name = evidence.name(meant[0]) if meant else None
        if name is not None:  # neither a TOAST table nor a temporary one
            yield Work(said.task, name, said.words)


def _replaced(evidence: Evidence, rewritten: set[str]) -> Iterator[Work]:
    task = Task.TRUNCATE if truncates(evidence.sql) else Task.REWRITE
    for oid in sorted(evidence.replaced):
        name = evidence.name(oid)
        if name is not None and name not in rewritten:
            yield Work(task, name)


def _rows(evidence: Evidence) -> Iterator[Work]:
    """Rows that the statement writes however many there are."""
    found = writing(evidence.sql)
    if found is None:
        return
    table = evidence.present.get(evidence.target or 0)
    # A view leads to tables that the text does not name.
    oids = [table.oid] if table is not None and table.kind != "v" else _written(evidence, found)
    tasks = {**evidence.looped, **dict.fromkeys(oids, found.task)}
    for oid, task in tasks.items():
        name = evidence.name(oid)
        if name is not None:
            yield Work(task, name, found.words)


def _written(evidence: Evidence, found: Writing) -> Iterator[int]:
    before, after = evidence.before, evidence.after
    for oid, modes in sorted(after.modes.items()):
        relation = evidence.present.get(oid)
        if _WRITING not in modes or relation is None or relation.kind not in "rpf":
            continue
        again = _WRITING in before.modes.get(oid, ())
        if again and not _tells(evidence, found, relation.relname):
            continue
        given = after.inserted.get(oid, 0) > before.inserted.get(oid, 0)
        if not given or (found.seen and found.task is not Task.INSERT):
            yield oid


def _tells(evidence: Evidence, found: Writing, relname: str) -> bool:
    """Whether text that writes names the table: a lock that was held before is no sign of it."""
    if found.seen and relname in evidence.sql:
        return True
    return writes(evidence.bodies) and relname in evidence.bodies


def _scans(evidence: Evidence) -> Iterator[Work]:
    for oid, count in sorted(evidence.after.scans.items()):
        relation = evidence.present.get(oid)
        if relation is not None and relation.has_rows and count > evidence.before.scans.get(oid, 0):
            yield Work(Task.SCAN, evidence.name(oid) or relation.name)
