"""`check`: run several checks for a pipeline, report each, and exit with the status of the worst."""

from collections.abc import Iterator

from circle_migrate.commands.checks.database_checks import STATE_CHECKS, single_head, state_checks
from circle_migrate.commands.checks.database_facts import read_all_facts, revision_finding
from circle_migrate.core.errors import ExitCode, Interrupted, MigrateError, TreeError
from circle_migrate.core.findings import Check, Finding, Report, Severity, from_error
from circle_migrate.postgres.deployment import Deployment, revision_folders
from circle_migrate.revision_graph.graph import Graph

_GRAPH_CHECKS = {
    "single-head": "each tree has one head",
    "downgrade": "each revision has a downgrade or says why not",
}


async def check(
    deployment: Deployment,
    *,
    databases: bool = True,
    pending: bool = True,
    base: str | None = None,
    models: bool = False,
    drift: bool = False,
    consistency: bool = False,
    safety: bool = False,
) -> Report:
    """Run the selected checks. Broken revision files are a finding, and skip the checks that need them.

    `base` is the git revision to compare the revision files with. `models` looks for changes of the models
    without a revision, `drift` for manual changes of a database. `consistency` compares keys between the
    databases, `safety` assesses the pending revisions.
    """
    errors = _tree_errors(deployment)
    title = "revision files are readable, form trees and require what exists"
    checks = [Check("files", title, tuple(map(from_error, errors)))]
    if errors:
        skipped = _GRAPH_CHECKS | (STATE_CHECKS if databases else {})
        reason = "the revision files are broken"
        checks += [Check(name, title, skipped=reason) for name, title in skipped.items()]
        return Report("check", tuple(checks), folders=revision_folders(deployment))
    checks.append(single_head(deployment))
    checks.append(
        Check("downgrade", _GRAPH_CHECKS["downgrade"], tuple(_missing_downgrades(deployment.graphs)))
    )
    if base is not None:
        from circle_migrate.commands.checks.git_base import against_base

        checks += await against_base(deployment, base)
    if databases:
        facts = await read_all_facts(deployment)
        checks += state_checks(deployment, facts, pending=Severity.ERROR if pending else None)
    if models or drift:
        checks += await _diff_checks(deployment, checks, models=models, drift=drift)
    if consistency:
        from circle_migrate.commands.consistency.consistency import consistency as compare_keys

        reported = _reported_keys(checks)
        checks += [_remove_reported(check, reported) for check in (await compare_keys(deployment)).checks]
    if safety:
        checks += await _safety_checks(deployment, None if databases else base, live=databases)
    return Report("check", tuple(checks), folders=revision_folders(deployment))


async def _safety_checks(deployment: Deployment, base: str | None, *, live: bool) -> tuple[Check, ...]:
    """Assess the pending revisions, or without databases those that the git base lacks."""
    from circle_migrate.commands.safety_check import safety_check
    from circle_migrate.safety.assess import SafetyOptions
    from circle_migrate.safety.rules.evidence import Mode

    options = SafetyOptions(Mode.LIVE if live else Mode.CI, base=base)
    try:
        return (await safety_check(deployment, options=options)).checks
    except Interrupted:
        raise
    except MigrateError as error:
        return (Check("trace", "the pending revisions can be traced", (from_error(error),)),)


async def _diff_checks(
    deployment: Deployment, previous: list[Check], *, models: bool, drift: bool
) -> list[Check]:
    """Compare catalogs; errors that previous checks reported are left out."""
    from circle_migrate.commands.diff import DRIFT, MISSING, diff

    reported = _reported_keys(previous)
    checks: dict[str, Check] = {}
    for sides in [MISSING] * models + [DRIFT] * drift:
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


def _tree_errors(deployment: Deployment) -> list[TreeError]:
    """Return the errors of the trees, or of what their revisions require of each other."""
    errors = []
    for database in deployment.databases.values():
        try:
            _ = database.graph
        except TreeError as error:
            errors.append(error)
    if not errors:
        try:
            _ = deployment.combined_graph
        except TreeError as error:
            errors.append(error)
    return errors


def _missing_downgrades(graphs: dict[str, Graph]) -> Iterator[Finding]:
    remedy = 'write downgrade(), or irreversible = "why"'
    for graph in graphs.values():
        for key in graph.without_downgrade:
            message = f"revision {key} has no downgrade() and does not say why"
            yield revision_finding(
                "no-downgrade", Severity.ERROR, ExitCode.REFUSED, graph[key], message, remedy
            )
