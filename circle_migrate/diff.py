"""Diff: two catalogues of each database compared; by default what its revisions made with what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from circle_migrate.core.catalog import Snapshot
from circle_migrate.core.differences import Comparison, Diff, Difference
from circle_migrate.core.differing.aspects import Profile
from circle_migrate.core.differing.judging import Rules, judge, relevant, today
from circle_migrate.core.differing.scope import Answers, Models
from circle_migrate.core.differing.sides import CURRENT, Side, Source, parse_sides
from circle_migrate.core.differing.wording import counted, detail, message
from circle_migrate.core.findings import Check, Finding, Severity, from_error
from circle_migrate.core.ignore_rule import IgnoreRule, parse_difference_rule
from circle_migrate.deployment import Deployment
from circle_migrate.errors import CircleError, ExitCode
from circle_migrate.scratch import ScratchServers
from circle_migrate.states.equivalence import Question, ask, evident, questions
from circle_migrate.states.sources import Sources
from circle_migrate.status import folders

DRIFT = (f"{Source.REVISIONS}@{CURRENT}", str(Source.LIVE))
"""The sides that ask whether somebody has changed a database by hand."""

MISSING = (str(Source.MODELS), str(Source.REVISIONS))
"""The sides that ask whether a revision was forgotten."""


@dataclass(frozen=True, slots=True)
class Options:
    """What else counts: `grants` and `owners` fail under any profile; `ignore` adds rules to the settings."""

    column_order: bool = False
    partitions: bool = False
    grants: bool = False
    owners: bool = False
    ignore: Sequence[str] = ()

    @property
    def firm(self) -> frozenset[str]:
        """The fields whose differences fail under any profile."""
        grants = {"acl", "sequence_acl"} if self.grants else set()
        return frozenset(grants | ({"owner"} if self.owners else set()))


async def diff(deployment: Deployment, texts: Sequence[str] = DRIFT, options: Options | None = None) -> Diff:
    """Compare both sides of every selected database.

    What prevents the comparison of one is a finding, and the others are compared all the same. Raises
    `UsageError` for sides and rules that say nothing, `SettingsError` where a needed address is missing.
    """
    options = options or Options()
    sides = parse_sides(tuple(texts))
    ignore = (
        *deployment.settings.diff_ignore,
        *(parse_difference_rule(text, deployment.databases) for text in options.ignore),
    )
    async with ScratchServers(deployment) as servers:
        sources = Sources.of(deployment, servers, sides)
        asked = (
            _answer(sources, name, _rules(deployment, name, sides, options, ignore)) for name in sources.names
        )
        answers = await asyncio.gather(*asked)
    comparisons = tuple(answer for answer in answers if isinstance(answer, Comparison))
    name, rule, title = _question(sides)
    findings = tuple(finding for answer in answers for finding in _findings(answer, deployment, rule, sides))
    checks = [Check(name, title, findings)]
    if ignore:
        everything = len(comparisons) == len(deployment.databases)
        remarks = tuple(_remarks(ignore, comparisons, unused=everything))
        checks.append(Check("ignore-rules", "ignore rules hold and hide something", remarks))
    return Diff("diff", tuple(checks), folders=folders(deployment), comparisons=comparisons)


def _rules(
    deployment: Deployment,
    name: str,
    sides: tuple[Side, Side],
    options: Options,
    ignore: tuple[IgnoreRule, ...],
) -> Rules:
    of_models = [which for which, side in zip(Models, sides, strict=True) if side.source is Source.MODELS]
    return Rules(
        profile=Profile(deployment.databases[name].settings.profile),
        firm=options.firm,
        models=of_models[0] if of_models else None,
        column_order=options.column_order,
        partitions=options.partitions,
        ignore=ignore,
    )


async def _answer(sources: Sources, name: str, rules: Rules) -> Comparison | CircleError:
    """The comparison of one database, or why there is none."""
    try:
        sides = await sources.of_database(name)
        before, after = sides.snapshots
        scope = relevant(before, after, rules)
        scope.not_compared += sides.notes
        asked = questions(scope.changes, before)
        answers = evident(asked)
        doubtful = [each for each in asked if (each.key, each.field) not in answers]
        if doubtful:
            try:
                answers = {**answers, **await _ask(sources, name, (before, after), doubtful)}
            except CircleError as error:
                scope.not_compared.append(_unasked(doubtful, error))
    except CircleError as error:
        error.database = error.database or name
        return error
    schema = sources.deployment.databases[name].settings.default_schema
    found = judge(before, after, scope, rules, answers)
    return replace(found, pending=sides.pending, default_schema=schema)


def _unasked(doubtful: Sequence[Question], error: CircleError) -> str:
    """What could not be settled, why, and what to type so that it can."""
    way = f" ({' '.join(error.hint.split())})" if error.hint else ""
    texts = counted({"text": len(doubtful)})
    return f"the meaning of {texts} printed otherwise, counted as different: {error.message}{way}"


async def _ask(
    sources: Sources, name: str, snapshots: tuple[Snapshot, Snapshot], asked: Iterable[Question]
) -> Answers:
    """Ask in a scratch database at the revisions of either side. Raises why there is none."""
    graph = sources.deployment.graphs[name]
    known = [
        snapshot.revisions
        for snapshot in snapshots
        if snapshot.revisions is not None and all(key in graph for key in snapshot.revisions)
    ]
    if not known:
        raise CircleError("neither side is at known revisions", database=name)
    from circle_migrate.states.building import at_revisions

    alone = Deployment(sources.deployment.settings, name)
    async with at_revisions(alone, sources.servers, known[0], snapshots[1].major) as database:
        connection = await database.connect()
        try:
            return await ask(connection, asked)
        finally:
            connection.terminate()


def _question(sides: tuple[Side, Side]) -> tuple[str, str, str]:
    """The name of the check, the rule of its findings, and its title."""
    sources = {side.source for side in sides}
    if Source.MODELS in sources:
        other = next((side.text for side in sides if side.source is not Source.MODELS), "")
        return "models", "models-differ", f"models and {other} agree"
    if sources == {Source.REVISIONS, Source.LIVE}:
        return "drift", "drift", "the databases are what their revisions made"
    return "same", "differs", f"{sides[0].text} and {sides[1].text} are the same"


def _findings(
    answer: Comparison | CircleError, deployment: Deployment, rule: str, sides: tuple[Side, Side]
) -> Iterator[Finding]:
    if isinstance(answer, CircleError):
        yield replace(from_error(answer), unlooked=True)
        return
    of_revisions = {Source.MODELS, Source.REVISIONS} == {side.source for side in sides}
    for difference in answer.differences:
        yield _finding(difference, answer, deployment, rule, at_head=of_revisions)


def _finding(
    difference: Difference, comparison: Comparison, deployment: Deployment, rule: str, *, at_head: bool
) -> Finding:
    """A difference as a finding; a forgotten revision is shown at the newest one, after which it belongs."""
    graph = deployment.graphs[comparison.database]
    head = graph[graph.heads[-1]] if at_head and graph.heads else None
    return Finding(
        rule=rule,
        severity=difference.severity,
        message=message(difference, comparison),
        status=ExitCode.DRIFT,
        database=comparison.database,
        subject=str(difference.change.key),
        detail=detail(difference, comparison),
        revision=head.id if head else None,
        file=head.path if head else None,
        line=head.line if head else None,
    )


def _remarks(
    rules: Iterable[IgnoreRule], comparisons: Sequence[Comparison], *, unused: bool
) -> Iterator[Finding]:
    """What is to be said about the rules themselves; `unused` ones only where all was compared."""
    used = {text for comparison in comparisons for text in comparison.ignored}
    for rule in rules:
        if rule.has_expired(today()):
            yield _remark("expired-ignore-rule", Severity.WARNING, rule, f"expired on {rule.until}")
        elif unused and rule.text not in used:
            yield _remark("unused-ignore-rule", Severity.NOTE, rule, "hides nothing")


def _remark(kind: str, severity: Severity, rule: IgnoreRule, what: str) -> Finding:
    return Finding(
        rule=kind,
        severity=severity,
        message=f"the ignore rule {rule.text!r} {what}",
        status=ExitCode.DONE,
        database=rule.database,
        subject=rule.text,
    )
