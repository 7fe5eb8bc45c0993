"""`diff`: compare two catalogs of each database, by default those of its revisions and of the server."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial

from circle_migrate.config.ignore_rule import IgnoreRule, parse_difference_rule
from circle_migrate.core.errors import ExitCode, MigrateError
from circle_migrate.core.findings import Check, Finding, Severity, from_error
from circle_migrate.diff.compare import CompareOptions, compare, today
from circle_migrate.diff.describe import detail, format_counts, summary
from circle_migrate.diff.equivalence import checks_for, equal_by_text, equal_in_scratch
from circle_migrate.diff.expected.sources import ComparisonSides, ComparisonSources
from circle_migrate.diff.expected.trial import run_trial
from circle_migrate.diff.result import Comparison, DiffResult
from circle_migrate.diff.scope import ChangeSet, EquivalenceAnswers, Models
from circle_migrate.diff.side import CURRENT, ComparisonSide, Source, parse_sides
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment, revision_folders
from circle_migrate.postgres.scratch.pool import ScratchServers

DRIFT = (f"{Source.REVISIONS}@{CURRENT}", str(Source.LIVE))
"""The sides that show manual changes of a database."""

MISSING = (str(Source.MODELS), str(Source.REVISIONS))
"""The sides that show changes of the models without a revision."""


GRANT_FIELDS = ("acl", "sequence_acl")
OWNER_FIELDS = ("owner",)
"""Fields for `CompareOptions.always_error`."""


async def diff(
    deployment: Deployment,
    texts: Sequence[str] = DRIFT,
    options: CompareOptions | None = None,
    ignore_texts: Sequence[str] = (),
    trials: Sequence[bool] = (),
    *,
    stored_only: bool = False,
) -> DiffResult:
    """Compare both sides of every selected database.

    `ignore_texts` are rules beside those of the settings. `trials` are the directions in which the DDL is
    tried: False for FROM to TO, True for its undoing. With `stored_only` no scratch database is made. An
    error that prevents the comparison of one database is a finding; the others are compared. Raises
    `UsageError` for invalid sides and rules, `SettingsError` for a missing address.
    """
    sides = parse_sides(tuple(texts))
    ignore = (
        *deployment.settings.diff_ignore,
        *(parse_difference_rule(text, deployment.databases) for text in ignore_texts),
    )
    models = (models for models, side in zip(Models, sides, strict=True) if side.source is Source.MODELS)
    options = replace(options or CompareOptions(), models=next(models, None), ignore=ignore)
    async with ScratchServers(deployment, enabled=not stored_only) as servers:
        sources = ComparisonSources(deployment, servers, sides, on_server=bool(trials))
        results = await asyncio.gather(*(_compare(sources, name, options, trials) for name in sources.names))
    comparisons = tuple(result for result in results if isinstance(result, Comparison))
    name, rule, title = _check_names(sides)
    findings = tuple(finding for result in results for finding in _findings(result, deployment, rule, sides))
    checks = [Check(name, title, findings)]
    if ignore:
        complete = len(comparisons) == len(deployment.databases)
        rule_findings = tuple(_rule_findings(ignore, comparisons, report_unused=complete))
        checks.append(Check("ignore-rules", "ignore rules are valid and used", rule_findings))
    return DiffResult("diff", tuple(checks), folders=revision_folders(deployment), comparisons=comparisons)


async def _compare(
    sources: ComparisonSources, name: str, options: CompareOptions, trials: Sequence[bool]
) -> Comparison | MigrateError:
    """Compare one database under its profile, or return what prevents it."""
    settings = sources.deployment.databases[name].settings
    options = replace(options, profile=settings.profile)
    if settings.has_filters:
        from circle_migrate.diff.autogenerate.filters import Filters

        options = replace(options, leave_out=Filters(settings).leave_out)
    try:
        sides = await sources.of_database(name)
        before, after = sides.snapshots
        comparison = await compare(before, after, options, partial(_answer, sources, name, sides))
    except MigrateError as error:
        error.database = error.database or name
        return error
    results = {undo: await run_trial(sources.servers, comparison, undo=undo) for undo in trials}
    return replace(comparison, pending=sides.pending, default_schema=settings.default_schema, trials=results)


async def _answer(
    sources: ComparisonSources, name: str, sides: ComparisonSides, change_set: ChangeSet
) -> EquivalenceAnswers:
    """Find texts with the same meaning; a server decides where the text alone does not."""
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
        texts = format_counts({"text": len(open_checks)})
        change_set.not_compared.append(
            f"the meaning of {texts} printed differently, counted as different: {error.message}{hint}"
        )
        return answers


def _scratch_database(
    sources: ComparisonSources, name: str, snapshots: tuple[Snapshot, ...]
) -> AbstractAsyncContextManager[Database]:
    """Return a scratch database at the revisions of one side. Raises `MigrateError` if none is known."""
    graph = sources.deployment.graphs[name]
    for snapshot in snapshots:
        if snapshot.revisions is not None and all(key in graph for key in snapshot.revisions):
            from circle_migrate.diff.expected.expected import at_revisions

            deployment = Deployment(sources.deployment.settings, name)
            return at_revisions(deployment, sources.servers, snapshot.revisions, snapshots[1].major)
    raise MigrateError("neither side is at known revisions", database=name)


def _check_names(sides: tuple[ComparisonSide, ComparisonSide]) -> tuple[str, str, str]:
    """Return the name of the check, the rule of its findings, and its title."""
    sources = {side.source for side in sides}
    if Source.MODELS in sources:
        other = next((side.text for side in sides if side.source is not Source.MODELS), "")
        return "models", "models-differ", f"models and {other} agree"
    if sources == {Source.REVISIONS, Source.LIVE}:
        return "drift", "drift", "the databases match their revisions"
    return "same", "differs", f"{sides[0].text} and {sides[1].text} are the same"


def _findings(
    result: Comparison | MigrateError,
    deployment: Deployment,
    rule: str,
    sides: tuple[ComparisonSide, ComparisonSide],
) -> Iterator[Finding]:
    if isinstance(result, MigrateError):
        yield replace(from_error(result), not_checked=True)
        return
    graph = deployment.graphs[result.database]
    # A missing revision belongs after the newest one.
    missing_revision = {Source.MODELS, Source.REVISIONS} == {side.source for side in sides}
    head = graph[graph.heads[-1]] if missing_revision and graph.heads else None
    for difference in result.differences:
        yield Finding(
            rule=rule,
            severity=difference.severity,
            message=f"{result.database}: {summary(difference, result)}",
            status=ExitCode.DRIFT,
            database=result.database,
            subject=str(difference.change.key),
            detail=detail(difference, result),
            revision=head.id if head else None,
            file=head.path if head else None,
            line=head.line if head else None,
        )


def _rule_findings(
    rules: Iterable[IgnoreRule], comparisons: Sequence[Comparison], *, report_unused: bool
) -> Iterator[Finding]:
    """Yield findings about the ignore rules themselves."""
    used = {text for comparison in comparisons for text in comparison.ignored}
    for rule in rules:
        if rule.has_expired(today()):
            name, severity = "expired-ignore-rule", Severity.WARNING
            text = f"the ignore rule {rule.text!r} expired on {rule.until}"
        elif report_unused and rule.text not in used:
            name, severity = "unused-ignore-rule", Severity.NOTE
            text = f"the ignore rule {rule.text!r} hides nothing"
        else:
            continue
        yield Finding(name, severity, text, database=rule.database, subject=rule.text)
