"""Diff: two catalogues of each database compared; by default what its revisions made with what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial

from circle_migrate.config.ignore_rule import IgnoreRule, parse_difference_rule
from circle_migrate.core.errors import ExitCode, MigrateError
from circle_migrate.core.findings import Check, Finding, Severity, from_error
from circle_migrate.diff.compare import CompareOptions, Profile, compare, today
from circle_migrate.diff.describe import counted, detail, summary
from circle_migrate.diff.equivalence import checks_for, equal_by_text, equal_in_scratch
from circle_migrate.diff.expected.sources import ComparisonSides, ComparisonSources
from circle_migrate.diff.result import Comparison, Difference, DiffResult
from circle_migrate.diff.scope import ChangeSet, EquivalenceAnswers, Models
from circle_migrate.diff.side import CURRENT, Side, Source, parse_sides
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment, folders
from circle_migrate.postgres.scratch.pool import ScratchServers

DRIFT = (f"{Source.REVISIONS}@{CURRENT}", str(Source.LIVE))
"""The sides that ask whether somebody has changed a database by hand."""

MISSING = (str(Source.MODELS), str(Source.REVISIONS))
"""The sides that ask whether a revision was forgotten."""


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """What else counts: `grants` and `owners` fail under any profile; `ignore` adds rules to the settings."""

    column_order: bool = False
    partitions: bool = False
    grants: bool = False
    owners: bool = False
    ignore: Sequence[str] = ()

    @property
    def always_error(self) -> frozenset[str]:
        """The fields whose differences are errors under any profile."""
        grants = {"acl", "sequence_acl"} if self.grants else set()
        return frozenset(grants | ({"owner"} if self.owners else set()))


async def diff(
    deployment: Deployment, texts: Sequence[str] = DRIFT, options: DiffOptions | None = None
) -> DiffResult:
    """Compare both sides of every selected database.

    What prevents the comparison of one is a finding, and the others are compared all the same. Raises
    `UsageError` for sides and rules that say nothing, `SettingsError` where a needed address is missing.
    """
    options = options or DiffOptions()
    sides = parse_sides(tuple(texts))
    ignore = (
        *deployment.settings.diff_ignore,
        *(parse_difference_rule(text, deployment.databases) for text in options.ignore),
    )
    async with ScratchServers(deployment) as servers:
        sources = ComparisonSources.of(deployment, servers, sides)
        results = await asyncio.gather(
            *(
                _compare(sources, name, _compare_options(deployment, name, sides, options, ignore))
                for name in sources.names
            )
        )
    comparisons = tuple(result for result in results if isinstance(result, Comparison))
    name, rule, title = _question(sides)
    findings = tuple(finding for result in results for finding in _findings(result, deployment, rule, sides))
    checks = [Check(name, title, findings)]
    if ignore:
        everything = len(comparisons) == len(deployment.databases)
        remarks = tuple(_remarks(ignore, comparisons, unused=everything))
        checks.append(Check("ignore-rules", "ignore rules hold and hide something", remarks))
    return DiffResult("diff", tuple(checks), folders=folders(deployment), comparisons=comparisons)


def _compare_options(
    deployment: Deployment,
    name: str,
    sides: tuple[Side, Side],
    options: DiffOptions,
    ignore: tuple[IgnoreRule, ...],
) -> CompareOptions:
    of_models = [which for which, side in zip(Models, sides, strict=True) if side.source is Source.MODELS]
    return CompareOptions(
        profile=Profile(deployment.databases[name].settings.profile),
        always_error=options.always_error,
        models=of_models[0] if of_models else None,
        column_order=options.column_order,
        partitions=options.partitions,
        ignore=ignore,
    )


async def _compare(
    sources: ComparisonSources, name: str, options: CompareOptions
) -> Comparison | MigrateError:
    """Compare one database, or return what prevents it."""
    try:
        sides = await sources.of_database(name)
        before, after = sides.snapshots
        comparison = await compare(before, after, options, partial(_answer, sources, name, sides))
    except MigrateError as error:
        error.database = error.database or name
        return error
    schema = sources.deployment.databases[name].settings.default_schema
    return replace(comparison, pending=sides.pending, default_schema=schema)


async def _answer(
    sources: ComparisonSources, name: str, sides: ComparisonSides, change_set: ChangeSet
) -> EquivalenceAnswers:
    """Tell which texts mean the same; ask a server only about those that do not show it."""
    change_set.not_compared += sides.notes
    checks = checks_for(change_set.changes, sides.snapshots[0])
    answers = equal_by_text(checks)
    open_checks = [check for check in checks if (check.key, check.field) not in answers]
    if not open_checks:
        return answers
    try:
        scratch = _scratch_database(sources, name, sides.snapshots)
        return {**answers, **await equal_in_scratch(scratch, open_checks)}
    except MigrateError as error:
        hint = f" ({' '.join(error.hint.split())})" if error.hint else ""
        texts = counted({"text": len(open_checks)})
        change_set.not_compared.append(
            f"the meaning of {texts} printed otherwise, counted as different: {error.message}{hint}"
        )
        return answers


def _scratch_database(
    sources: ComparisonSources, name: str, snapshots: tuple[Snapshot, ...]
) -> AbstractAsyncContextManager[Database]:
    """Return a scratch database at the revisions of either side. Raises `MigrateError` if they are unknown."""
    graph = sources.deployment.graphs[name]
    for snapshot in snapshots:
        if snapshot.revisions is not None and all(key in graph for key in snapshot.revisions):
            from circle_migrate.diff.expected.build import at_revisions

            alone = Deployment(sources.deployment.settings, name)
            return at_revisions(alone, sources.servers, snapshot.revisions, snapshots[1].major)
    raise MigrateError("neither side is at known revisions", database=name)


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
    result: Comparison | MigrateError, deployment: Deployment, rule: str, sides: tuple[Side, Side]
) -> Iterator[Finding]:
    if isinstance(result, MigrateError):
        yield replace(from_error(result), not_checked=True)
        return
    of_revisions = {Source.MODELS, Source.REVISIONS} == {side.source for side in sides}
    for difference in result.differences:
        yield _finding(difference, result, deployment, rule, at_head=of_revisions)


def _finding(
    difference: Difference, comparison: Comparison, deployment: Deployment, rule: str, *, at_head: bool
) -> Finding:
    """A difference as a finding; a forgotten revision is shown at the newest one, after which it belongs."""
    graph = deployment.graphs[comparison.database]
    head = graph[graph.heads[-1]] if at_head and graph.heads else None
    return Finding(
        rule=rule,
        severity=difference.severity,
        message=f"{comparison.database}: {summary(difference, comparison)}",
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
