"""One statement of a plan with the live names of its objects, and the queries of probes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from circle_migrate.safety.live_database.parse_definition import columns_in, replace_columns
from circle_migrate.safety.live_database.record import ObjectUsage, Probe, ProbeKind
from circle_migrate.safety.live_database.renames import LiveNames, NoLiveName, StatementRenames

LIMIT = 1000
"""Rows up to which probes count."""


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """A statement, and the live names of objects before and after it.

    `labels` of enumerations and `starts` of sequences are those that the plan has created by then. `usage` is
    None where the live catalogue was not read.
    """

    renames: StatementRenames
    before: LiveNames
    after: LiveNames
    labels: Mapping[str, tuple[str, ...]]
    starts: Mapping[str, str]
    usage: ObjectUsage | None

    def live_expression(self, relation: str, expression: str) -> str | NoLiveName:
        """Return an expression over columns of a relation in live names, or why there is none."""
        names = {
            column.name: name for column, name in self.after.columns.items() if column.relation == relation
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
