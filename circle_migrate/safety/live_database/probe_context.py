"""One statement of a plan with the names that its objects have in the live database, where it has not run.

A possible rename counts as one where the statement says RENAME or SET SCHEMA. A plain ALTER, CREATE or DROP
without these renames nothing; a statement whose text does not show what runs, such as DO, may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.safety.live_database.definitions import columns_in, replace_columns
from circle_migrate.safety.live_database.record import STORING, ColumnName, ObjectUsage, Probe, ProbeKind
from circle_migrate.safety.trace.record import TracedStatement
from circle_migrate.safety.trace.renames import possible_renames, says_rename

LIMIT = 1000
"""Rows up to which probes count."""

_PLAIN_DDL = re.compile(r"\s*(?:ALTER|CREATE|DROP)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """A statement, and the live names of objects before and after it.

    `labels` of enumerations, `starts` of sequences and `defaults` of columns, which may be NULL, are those
    that the plan has created by then. `usage` is None where the live catalog was not read.
    """

    renames: StatementRenames
    before: LiveNames
    after: LiveNames
    labels: Mapping[str, tuple[str, ...]]
    starts: Mapping[str, str]
    defaults: Mapping[ColumnName, str]
    usage: ObjectUsage | None

    def live_expression(
        self, relation: str, expression: str, *, with_defaults: bool = False
    ) -> str | NoLiveName:
        """Return an expression in live names, or why there is none; new columns may have their defaults."""
        names = {
            column.name: self.defaults.get(column, name) if with_defaults else name
            for column, name in self.after.columns.items()
            if column.relation == relation
        }
        live: dict[str, str] = {}
        for column in columns_in(expression):
            name = names.get(column, column)
            if isinstance(name, NoLiveName):
                return name
            live[column] = name
        return replace_columns(expression, live)

    def row_probe(
        self, kind: ProbeKind, relation: str, subject: str, condition: str | NoLiveName
    ) -> tuple[Probe, ...]:
        """Count the rows of a relation that meet a condition; no probe for what the plan creates."""
        live = self.after.relation(relation)
        if NoLiveName.NEW in (live, condition):
            return ()
        if isinstance(live, NoLiveName) or isinstance(condition, NoLiveName):
            return self.unknown(kind, relation, subject, NoLiveName.AMBIGUOUS.value)
        return (Probe(kind, live, subject, count_query(live, condition), related=(live, relation)),)

    def domain_probes(self, kind: ProbeKind, domain: str, subject: str, condition: str) -> Iterator[Probe]:
        """Count the rows that meet a condition in all columns of a domain, for which VALUE stands."""
        if self.usage is None:
            yield Probe(kind, domain, subject, unknown="the columns of the domain are not known")
            return
        for relation, column in self.usage.domains.get(domain, ()):
            query = count_query(relation, replace_columns(condition, {"VALUE": column}))
            yield Probe(kind, relation, subject, query, related=(relation,))

    def unknown(self, kind: ProbeKind, relation: str, subject: str, reason: str) -> tuple[Probe, ...]:
        """Return a probe without a query; none for a relation that the plan creates."""
        live = self.after.relation(relation)
        if live is NoLiveName.NEW:
            return ()
        return (Probe(kind, relation if isinstance(live, NoLiveName) else live, subject, unknown=reason),)


def count_query(relation: str, condition: str, grouping: str = "") -> str:
    """Return a query for the number of rows that meet a condition, up to one more than LIMIT."""
    where = f" WHERE {condition}" if condition else ""
    return f"SELECT count(*) FROM (SELECT 1 FROM {relation}{where}{grouping} LIMIT {LIMIT + 1}) AS counted"


class NoLiveName(Enum):
    """Why the live database has no name for an object."""

    NEW = "the plan creates it"
    AMBIGUOUS = "the statement does not say whether it is new or renamed"


def column_of(change: Change) -> ColumnName:
    """Return the column that a change is about."""
    return ColumnName(change.owner.identity if change.owner else "", split_identity(change.key.identity)[-1])


@dataclass(frozen=True)
class StatementRenames:
    """The changes of one statement, with its renames told from what it removes and adds."""

    statement: TracedStatement

    @cached_property
    def is_rename(self) -> bool:
        """Whether the statement says that it renames."""
        return says_rename(self.statement.sql)

    @cached_property
    def relations(self) -> dict[str, str]:
        """The new name of each renamed relation."""
        return self._possible[0] if self.is_rename else {}

    @cached_property
    def columns(self) -> dict[ColumnName, ColumnName]:
        """The new name of each renamed column, in relations that keep theirs."""
        return self._possible[1] if self.is_rename else {}

    @cached_property
    def ambiguous(self) -> frozenset[str | ColumnName]:
        """The removed and added names that may be renames."""
        if self.is_rename or _PLAIN_DDL.match(self.statement.sql):
            return frozenset()
        relations, columns = self._possible
        return frozenset[str | ColumnName]().union(*relations.items(), *columns.items())

    def changes(self, op: Op, *kinds: str) -> Iterator[Change]:
        """Return the changes of these kinds."""
        return (change for change in self.statement.changes if change.op is op and change.key.kind in kinds)

    @cached_property
    def removed(self) -> frozenset[str]:
        """The relations whose names no longer exist."""
        return frozenset(change.key.identity for change in self.changes(Op.REMOVED, *STORING))

    @cached_property
    def added(self) -> frozenset[str]:
        """The relations whose names did not exist before."""
        return frozenset(change.key.identity for change in self.changes(Op.ADDED, *STORING))

    @cached_property
    def _possible(self) -> tuple[dict[str, str], dict[ColumnName, ColumnName]]:
        """The relations that may be renamed, and the columns in relations that keep their names."""
        pairs = tuple(possible_renames(self.statement.changes))
        relations = {old.key.identity: new.key.identity for old, new in pairs if old.key.kind in STORING}
        columns = ((column_of(old), column_of(new)) for old, new in pairs if old.key.kind == "column")
        return relations, {old: new for old, new in columns if old.relation == new.relation}


@dataclass(frozen=True)
class LiveNames:
    """The live names of what the plan has renamed or created; any other object has the same name there."""

    relations: Mapping[str, str | NoLiveName] = field(default_factory=dict)
    columns: Mapping[ColumnName, str | NoLiveName] = field(default_factory=dict)

    def relation(self, name: str) -> str | NoLiveName:
        """Return the live name of a relation, or why there is none."""
        return self.relations.get(name, name)

    def column(self, relation: str, name: str) -> str | NoLiveName:
        """Return the live name of a column, or why there is none."""
        live = self.relation(relation)
        return live if isinstance(live, NoLiveName) else self.columns.get(ColumnName(relation, name), name)

    def after(self, renames: StatementRenames) -> LiveNames:
        """Return the live names after a statement."""

        def added(name: str | ColumnName) -> NoLiveName:
            return NoLiveName.AMBIGUOUS if name in renames.ambiguous else NoLiveName.NEW

        relations = {name: live for name, live in self.relations.items() if name not in renames.removed}
        relations |= {name: added(name) for name in renames.added}
        relations |= {new: self.relation(old) for old, new in renames.relations.items()}
        columns = {
            ColumnName(renames.relations.get(column.relation, column.relation), column.name): live
            for column, live in self.columns.items()
            if column.relation not in renames.removed or column.relation in renames.relations
        }
        for change in renames.changes(Op.REMOVED, "column"):
            columns.pop(column_of(change), None)
        for column in map(column_of, renames.changes(Op.ADDED, "column")):
            if column.relation not in renames.added:
                columns[column] = added(column)
        columns |= {new: self.column(*old) for old, new in renames.columns.items()}
        return LiveNames(relations, columns)
