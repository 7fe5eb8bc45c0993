"""`check`: run several checks for a pipeline, report each, and exit with the status of the worst."""

from collections.abc import Iterator
from dataclasses import dataclass

from circle_migrate.commands.checks.database_checks import STATE_CHECKS, single_head, state_checks
from circle_migrate.commands.checks.database_facts import read_facts, revision_finding
from circle_migrate.core.errors import ExitCode, Interrupted, MigrateError, TreeError
from circle_migrate.core.findings import Check, Finding, Report, Severity, from_error
from circle_migrate.postgres.deployment import Deployment, revision_folders
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.graph import Graph

_GRAPH_CHECKS = {
    "single-head": "each tree has one head",
    "downgrade": "each revision has a downgrade or says why not",
}


@dataclass(frozen=True, slots=True)
class CheckSelection:
    """The checks to run; `base` is the git revision to compare the revision files with.

    `models` looks for changes of the models without a revision, `drift` for manual changes of a database.
    `consistency` compares keys between the databases, `safety` assesses the pending revisions.
    """

    databases: bool = True
    pending: bool = True
    base: str | None = None
    models: bool = False
    drift: bool = False
    consistency: bool = False
    safety: bool = False


async def check(deployment: Deployment, selection: CheckSelection) -> Report:
    """Run the selected checks. Broken revision files are a finding, and skip the checks that need them."""
    graphs, errors = _load_graphs(deployment)
    title = "revision files are readable, form trees and require what exists"
    checks = [Check("files", title, tuple(map(from_error, errors)))]
    if errors:
        skipped = _GRAPH_CHECKS | (STATE_CHECKS if selection.databases else {})
        reason = "the revision files are broken"
        checks += [Check(name, title, skipped=reason) for name, title in skipped.items()]
        return Report("check", tuple(checks), folders=revision_folders(deployment))
    checks.append(single_head(deployment))
    checks.append(Check("downgrade", _GRAPH_CHECKS["downgrade"], tuple(_missing_downgrades(graphs))))
    if selection.base is not None:
        from circle_migrate.commands.checks.git_base import against_base

        checks += await against_base(deployment, selection.base)
    if selection.databases:
        facts = await deployment.query_each(deployment.selected, read_facts)
        checks += state_checks(deployment, facts, pending=Severity.ERROR if selection.pending else None)
    if selection.models or selection.drift:
        checks += await _diff_checks(deployment, selection, checks)
    if selection.consistency:
        from circle_migrate.commands.consistency.consistency import consistency

        reported = _reported_keys(checks)
        checks += [_remove_reported(check, reported) for check in (await consistency(deployment)).checks]
    if selection.safety:
        checks += await _safety_checks(deployment, selection)
    return Report("check", tuple(checks), folders=revision_folders(deployment))


async def _safety_checks(deployment: Deployment, selection: CheckSelection) -> tuple[Check, ...]:
    """Assess the pending revisions, or without databases those that the git base lacks."""
    from circle_migrate.commands.safety_check import safety_check
    from circle_migrate.safety.assess import SafetyOptions
    from circle_migrate.safety.rules.evidence import Mode

    mode, base = (Mode.LIVE, None) if selection.databases else (Mode.CI, selection.base)
    try:
        return (await safety_check(deployment, options=SafetyOptions(mode, base=base))).checks
    except Interrupted:
        raise
    except MigrateError as error:
        return (Check("trace", "the pending revisions can be traced", (from_error(error),)),)


async def _diff_checks(
    deployment: Deployment, selection: CheckSelection, previous: list[Check]
) -> list[Check]:
    """Compare catalogs; errors that previous checks reported are left out."""
    from circle_migrate.commands.diff import DRIFT, MISSING, diff

    reported = _reported_keys(previous)
    checks: dict[str, Check] = {}
    for sides in [*([MISSING] if selection.models else []), *([DRIFT] if selection.drift else [])]:
        for check in (await diff(deployment, sides)).checks:
            checks.setdefault(check.name, _remove_reported(check, reported))
    return list(checks.values())


def _reported_keys(checks: list[Check]) -> set[tuple[str | None, str]]:
    return {(finding.database, finding.rule) for check in checks for finding in check.findings}


def _remove_reported(check: Check, reported: set[tuple[str | None, str]]) -> Check:
    """Return the check without the findings that were reported before, or skipped because of them."""
    findings = tuple(
        finding for finding in check.findings if (finding.database, finding.rule) not in reported
    )
    unread = " and ".join(
        finding.database for finding in check.findings if finding.database and finding not in findings
    )
    return check._replace(
        findings=findings, skipped=f"{unread} cannot be compared" if unread else check.skipped
    )


def _load_graphs(deployment: Deployment) -> tuple[dict[str, Graph], list[TreeError]]:
    graphs: dict[str, Graph] = {}
    errors: list[TreeError] = []
    for name, database in deployment.databases.items():
        try:
            graphs[name] = database.graph
        except TreeError as error:
            errors.append(error)
    if not errors:
        try:
            CombinedGraph(graphs)
        except TreeError as error:
            errors.append(error)
    return {name: graph for name, graph in graphs.items() if name in deployment.selected}, errors


def _missing_downgrades(graphs: dict[str, Graph]) -> Iterator[Finding]:
    remedy = 'write downgrade(), or irreversible = "why"'
    for graph in graphs.values():
        for key in graph.without_downgrade:
            message = f"revision {key} has no downgrade() and does not say why"
            yield revision_finding(
                "no-downgrade", Severity.ERROR, ExitCode.REFUSED, graph[key], message, remedy
            )
