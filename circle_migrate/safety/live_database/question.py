"""What a statement leads to, in which names, and how a question is put as SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from circle_migrate.safety.live_database.parse_definition import columns_in, rewritten
from circle_migrate.safety.live_database.record import ObjectUsage, ProbeKind
from circle_migrate.safety.live_database.renames import LiveNames, NoLiveName, StatementRenames

LIMIT = 1000
"""Rows that are counted; of more only this is known."""


@dataclass(frozen=True, slots=True)
class Question:
    """A probe in the making: `relation` is the live one, `related` are all whose rows matter, by any name."""

    kind: ProbeKind
    relation: str
    subject: str
    query: str = ""
    unknown: str = ""
    related: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """A statement, and what live calls things before and after it.

    `labels` are those of enumerations and `starts` the first values of sequences that the plan has made by
    then. `uses` is None where the live catalogue was not read.
    """

    done: StatementRenames
    before: LiveNames
    after: LiveNames
    labels: Mapping[str, tuple[str, ...]]
    starts: Mapping[str, str]
    uses: ObjectUsage | None

    def expression(self, relation: str, text: str) -> str | NoLiveName:
        """An expression over columns of a relation in live names, or why live cannot evaluate it."""
        names = {
            column.name: name for column, name in self.after.columns.items() if column.relation == relation
        }
        live: dict[str, str] = {}
        for name in columns_in(text):
            known = names.get(name, name)
            if isinstance(known, NoLiveName):
                return known
            live[name] = known
        return rewritten(text, live)

    def about(
        self, ask: ProbeKind, relation: str, subject: str, condition: str | NoLiveName
    ) -> tuple[Question, ...]:
        """Ask how many rows of a relation meet a condition; nothing about what the plan makes."""
        live = self.after.relation(relation)
        if NoLiveName.BORN in (live, condition):
            return ()
        if isinstance(live, NoLiveName) or isinstance(condition, NoLiveName):
            return self.unknown(ask, relation, subject, NoLiveName.UNSURE.value)
        return (Question(ask, live, subject, counted(live, condition), related=(live, relation)),)

    def unknown(self, ask: ProbeKind, relation: str, subject: str, why: str) -> tuple[Question, ...]:
        """Return a question that cannot be asked; nothing about a relation that the plan makes."""
        live = self.after.relation(relation)
        if live is NoLiveName.BORN:
            return ()
        return (Question(ask, relation if isinstance(live, NoLiveName) else live, subject, unknown=why),)


def counted(relation: str, condition: str, tail: str = "") -> str:
    """A query for the number of rows that meet a condition, up to one more than LIMIT."""
    where = f" WHERE {condition}" if condition else ""
    return f"SELECT count(*) FROM (SELECT 1 FROM {relation}{where}{tail} LIMIT {LIMIT + 1}) AS counted"
