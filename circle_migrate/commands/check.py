"""Check: the gate for pipelines. Several questions in one call, each reported; the worst decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from circle_migrate.commands.checks.database_checks import STATE_CHECKS, several_heads, state_checks
from circle_migrate.commands.checks.database_facts import read_all_facts
from circle_migrate.core.errors import ExitCode, Interrupted, MigrateError, TreeError
from circle_migrate.core.findings import Check, Finding, Report, Severity, from_error
from circle_migrate.postgres.deployment import Deployment, folders
from circle_migrate.revision_graph.forest import CombinedGraph
from circle_migrate.revision_graph.graph import Graph


@dataclass(frozen=True, slots=True)
class CheckSelection:
    """What to ask: of the databases, about pending revisions, against a git revision, of models, of drift.

    `consistency` asks whether the databases hold the same keys, `safety` what is pending would do to them.
    """

    databases: bool = True
    pending: bool = True
    base: str | None = None
    models: bool = False
    drift: bool = False
    consistency: bool = False
    safety: bool = False


async def check(deployment: Deployment, questions: CheckSelection) -> Report:
    """Ask all questions and report each. A broken tree is a finding; what needs it is then skipped."""
    graphs, broken = _load(deployment)
    checks = [_loadable(broken)]
    if broken:
        why = "the revision files are broken"
        unasked = _NEED_THE_TREES | (STATE_CHECKS if questions.databases else {})
        checks += [Check(name, title, (), why) for name, title in unasked.items()]
        return Report("check", tuple(checks), folders=folders(deployment))
    checks.append(several_heads(graphs.values()))
    checks.append(
        Check("downgrade", "each revision can be undone or says why not", tuple(_no_downgrade(graphs)))
    )
    if questions.base is not None:
        from circle_migrate.commands.checks.git_base import against_base

        checks += await against_base(deployment, questions.base)
    if questions.databases:
        answers = await read_all_facts(deployment, deployment.selected)
        pending = Severity.ERROR if questions.pending else None
        checks += state_checks(deployment, answers, pending=pending)
    if questions.models or questions.drift:
        checks += await _compared(deployment, questions, checks)
    if questions.consistency:
        from circle_migrate.commands.consistency.consistency import consistency

        said = _said(checks)
        checks += [_news(check, said) for check in (await consistency(deployment)).checks]
    if questions.safety:
        checks += await _judged(deployment, questions)
    return Report("check", tuple(checks), folders=folders(deployment))


async def _judged(deployment: Deployment, questions: CheckSelection) -> tuple[Check, ...]:
    """What is pending, or without databases what the base in git lacks."""
    from circle_migrate.commands.safety_check import safety_check
    from circle_migrate.safety.assess import SafetyOptions
    from circle_migrate.safety.rules.evidence import Mode

    mode = Mode.LIVE if questions.databases else Mode.CI
    base = None if questions.databases else questions.base
    try:
        return (await safety_check(deployment, options=SafetyOptions(mode, base=base))).checks
    except Interrupted:
        raise
    except MigrateError as error:
        return (Check("trace", "what is pending can be traced", (from_error(error),)),)


async def _compared(deployment: Deployment, questions: CheckSelection, made: list[Check]) -> list[Check]:
    """What comparing catalogues finds; why one cannot be read is not said again."""
    from circle_migrate.commands.diff import DRIFT, MISSING, diff

    said = _said(made)
    checks: dict[str, Check] = {}
    for sides in [*([MISSING] if questions.models else []), *([DRIFT] if questions.drift else [])]:
        for check in (await diff(deployment, sides)).checks:
            checks.setdefault(check.name, _news(check, said))
    return list(checks.values())


def _said(made: list[Check]) -> set[tuple[str | None, str]]:
    return {(finding.database, finding.rule) for check in made for finding in check.findings}


def _news(check: Check, said: set[tuple[str | None, str]]) -> Check:
    """The check without what was said before: why a database cannot be read."""
    news = tuple(finding for finding in check.findings if (finding.database, finding.rule) not in said)
    unread = " and ".join(
        finding.database for finding in check.findings if finding.database and finding not in news
    )
    why = f"{unread} cannot be compared" if unread else check.skipped
    return check._replace(findings=news, skipped=why)


_NEED_THE_TREES = {
    "single-head": "each tree has one head",
    "downgrade": "each revision can be undone or says why not",
}


def _load(deployment: Deployment) -> tuple[dict[str, Graph], list[TreeError]]:
    graphs: dict[str, Graph] = {}
    broken: list[TreeError] = []
    for name, database in deployment.databases.items():
        try:
            graphs[name] = database.graph
        except TreeError as error:
            broken.append(error)
    if not broken:
        try:
            CombinedGraph(graphs)
        except TreeError as error:
            broken.append(error)
    return {name: graph for name, graph in graphs.items() if name in deployment.selected}, broken


def _loadable(broken: list[TreeError]) -> Check:
    title = "revision files are readable, form trees and require what exists"
    return Check("files", title, tuple(from_error(error) for error in broken))


def _no_downgrade(graphs: dict[str, Graph]) -> Iterator[Finding]:
    for name, graph in graphs.items():
        for key in graph.without_downgrade:
            revision = graph[key]
            yield Finding(
                rule="no-downgrade",
                severity=Severity.ERROR,
                message=f"{name}: revision {revision.id} has no downgrade() and does not say why",
                status=ExitCode.REFUSED,
                database=name,
                revision=revision.id,
                remedy='write downgrade(), or irreversible = "why"',
                file=revision.path,
                line=revision.line,
            )
