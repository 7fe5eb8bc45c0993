"""What the relations and columns of a plan are called in the live database, which has not seen the plan yet.

A snapshot knows no identities but names: a rename is an object that goes and one of the same shape that
comes. That is believed where the statement says RENAME or SET SCHEMA. A plain ALTER, CREATE or DROP that does
not say so renames nothing; a statement whose text does not show what runs, such as DO, may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.safety.live_database.record import Column
from circle_migrate.safety.trace.record import TracedStatement

STORING = frozenset({"table", "materialized view"})
"""Kinds of relations that have rows of their own here."""

_RENAMES = re.compile(r"\b(?:RENAME|SET\s+SCHEMA)\b", re.IGNORECASE)
_PLAIN = re.compile(r"\s*(?:ALTER|CREATE|DROP)\b", re.IGNORECASE)
_SHAPE = ("type", "position", "generated", "identity", "collation")


class NoLiveName(Enum):
    """Why the live database has no name for something."""

    BORN = "the plan makes it"
    UNSURE = "the statement does not say whether it is new or had another name"


@dataclass(frozen=True)
class StatementRenames:
    """What one statement did, with its renames told from what came and went."""

    statement: TracedStatement

    @cached_property
    def renames(self) -> bool:
        """Whether the statement says that it renames."""
        return _RENAMES.search(self.statement.sql) is not None

    @cached_property
    def relations(self) -> dict[str, str]:
        """The new name of each relation that has one."""
        return self._relation_pairs if self.renames else {}

    @cached_property
    def columns(self) -> dict[Column, Column]:
        """The new name of each column that has one, in relations that keep theirs."""
        return self._column_pairs if self.renames else {}

    @cached_property
    def unsure(self) -> frozenset[str | Column]:
        """What came or went and may have been renamed instead."""
        if self.renames or _PLAIN.match(self.statement.sql):
            return frozenset()
        pairs: list[tuple[str | Column, str | Column]] = [*self._relation_pairs.items()]
        pairs += self._column_pairs.items()
        return frozenset(name for pair in pairs for name in pair)

    def of(self, op: Op, *kinds: str) -> Iterator[Change]:
        """The changes of these kinds."""
        return (change for change in self.statement.changes if change.op is op and change.key.kind in kinds)

    @cached_property
    def gone(self) -> frozenset[str]:
        """The relations that are not there any more by that name."""
        return frozenset(change.key.identity for change in self.of(Op.REMOVED, *STORING))

    @cached_property
    def come(self) -> frozenset[str]:
        """The relations that were not there by that name."""
        return frozenset(change.key.identity for change in self.of(Op.ADDED, *STORING))

    @cached_property
    def _relation_pairs(self) -> dict[str, str]:
        """Each relation that went with the one of its shape that came; of several, the one of its name."""
        pairs: dict[str, str] = {}
        for old in sorted(self.gone):
            same = [
                new
                for new in sorted(self.come - set(pairs.values()))
                if self._shape(Op.ADDED, new) == self._shape(Op.REMOVED, old)
            ]
            named = [new for new in same if split_identity(new)[-1] == split_identity(old)[-1]]
            chosen = same if len(same) == 1 else named
            if len(chosen) == 1:
                pairs[old] = chosen[0]
        return pairs

    def _shape(self, op: Op, relation: str) -> frozenset[object]:
        side = int(op is Op.ADDED)
        return frozenset(
            (
                split_identity(change.key.identity)[-1],
                *(change.fields.get(name, (None, None))[side] for name in _SHAPE),
            )
            for change in self.of(op, "column")
            if change.owner is not None and change.owner.identity == relation
        )

    @cached_property
    def _column_pairs(self) -> dict[Column, Column]:
        """Each column that went with the one that came in its place."""
        come = {self._place(change): column_of(change) for change in self.of(Op.ADDED, "column")}
        pairs = {}
        for change in self.of(Op.REMOVED, "column"):
            old, new = column_of(change), come.get(self._place(change))
            if new is not None and old.relation == new.relation:
                pairs[old] = new
        return pairs

    def _place(self, change: Change) -> tuple[object, ...]:
        side = int(change.op is Op.ADDED)
        fields = change.fields
        return (change.of, *(fields.get(name, (None, None))[side] for name in ("position", "type")))


def column_of(change: Change) -> Column:
    """The column that a change is about."""
    return Column(change.owner.identity if change.owner else "", split_identity(change.key.identity)[-1])


@dataclass(frozen=True)
class LiveNames:
    """The live names of what the plan's catalogue has by now; whatever is not named here has its own."""

    relations: Mapping[str, str | NoLiveName] = field(default_factory=dict)
    columns: Mapping[Column, str | NoLiveName] = field(default_factory=dict)

    def relation(self, name: str) -> str | NoLiveName:
        """The live name of a relation, or why there is none."""
        return self.relations.get(name, name)

    def column(self, relation: str, name: str) -> str | NoLiveName:
        """The live name of a column, or why there is none."""
        standing = self.relation(relation)
        return (
            standing if isinstance(standing, NoLiveName) else self.columns.get(Column(relation, name), name)
        )

    def after(self, done: StatementRenames) -> LiveNames:
        """The names when a statement has run."""
        relations, columns = dict(self.relations), dict(self.columns)
        for name in done.gone:
            relations.pop(name, None)
        for name in done.come:
            relations[name] = NoLiveName.UNSURE if name in done.unsure else NoLiveName.BORN
        for old, new in done.relations.items():
            relations[new] = self.relation(old)
        columns = {
            Column(done.relations.get(each.relation, each.relation), each.name): name
            for each, name in columns.items()
            if each.relation not in done.gone or each.relation in done.relations
        }
        for change in done.of(Op.REMOVED, "column"):
            columns.pop(column_of(change), None)
        for change in done.of(Op.ADDED, "column"):
            column = column_of(change)
            if column.relation not in done.come:
                columns[column] = NoLiveName.UNSURE if column in done.unsure else NoLiveName.BORN
        for before, now in done.columns.items():
            columns[now] = self.column(*before)
        return replace(self, relations=relations, columns=columns)
