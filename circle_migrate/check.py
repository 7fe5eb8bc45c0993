"""Check: the gate for pipelines. Several questions in one call, each reported; the worst decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from circle_migrate.core.findings import Check, Finding, Report, Severity, from_error
from circle_migrate.core.forest import Forest
from circle_migrate.core.revisions import Graph
from circle_migrate.deployment import Deployment
from circle_migrate.errors import CircleError, ExitCode, TreeError
from circle_migrate.facts import survey
from circle_migrate.status import folders, state_checks


@dataclass(frozen=True, slots=True)
class Questions:
    """What to ask: of the databases, about pending revisions, against a git revision, of the models."""

    databases: bool = True
    pending: bool = True
    base: str | None = None
    models: bool = False


async def check(deployment: Deployment, questions: Questions) -> Report:
    """Ask all questions and report each. A broken tree is a finding; what needs it is then skipped."""
    graphs, broken = _load(deployment)
    checks = [_loadable(broken)]
    if broken:
        why = "the revision files are broken"
        checks += [Check(name, title, (), why) for name, title in _NEED_THE_TREES]
        return Report("check", tuple(checks), folders=folders(deployment))
    checks.append(Check("single-head", "each tree has one head", tuple(_several_heads(graphs))))
    checks.append(
        Check("downgrade", "each revision can be undone or says why not", tuple(_no_downgrade(graphs)))
    )
    if questions.base is not None:
        from circle_migrate.base_revision import against_base

        checks += await against_base(deployment, questions.base)
    if questions.databases:
        answers = await survey(deployment, deployment.selected)
        pending = Severity.ERROR if questions.pending else None
        checks += state_checks(deployment, answers, pending=pending)
    if questions.models:
        from circle_migrate.models_check import models_check

        checks.append(await models_check(deployment))
    return Report("check", tuple(checks), folders=folders(deployment))


_NEED_THE_TREES = (
    ("single-head", "each tree has one head"),
    ("downgrade", "each revision can be undone or says why not"),
    ("recognised", "they are the right ones, at known revisions"),
    ("pending", "no revision is pending"),
)


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
            Forest(graphs)
        except TreeError as error:
            broken.append(error)
    return {name: graph for name, graph in graphs.items() if name in deployment.selected}, broken


def _loadable(broken: list[TreeError]) -> Check:
    title = "revision files are readable, form trees and require what exists"
    return Check("files", title, tuple(from_error(error) for error in broken))


def _several_heads(graphs: dict[str, Graph]) -> Iterator[Finding]:
    for graph in graphs.values():
        try:
            graph.head()
        except CircleError as error:
            newest = graph[graph.heads[-1]]
            error.location = error.location or newest.location
            yield from_error(error)


def _no_downgrade(graphs: dict[str, Graph]) -> Iterator[Finding]:
    for name, graph in graphs.items():
        for revision in graph.revisions.values():
            if revision.has_downgrade or revision.irreversible is not None:
                continue
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
