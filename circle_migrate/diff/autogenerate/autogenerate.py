"""Create a revision for each database whose models have changed.

The models are compared with the catalog that the revisions create in scratch databases. The new revision does
not depend on the live database; notes report its drift.
"""

from dataclasses import replace
from functools import partial

from circle_migrate.config.object_reference import load_models
from circle_migrate.core.errors import MigrateError, Refused
from circle_migrate.core.findings import Severity
from circle_migrate.diff.autogenerate.alembic_directives import new_drafts
from circle_migrate.diff.autogenerate.filters import Filters
from circle_migrate.diff.autogenerate.placement import Placement
from circle_migrate.diff.autogenerate.proposal import ModelDiff, Proposal, propose, try_drafts
from circle_migrate.diff.autogenerate.revision_file import RevisionFilesResult, write_all
from circle_migrate.diff.compare import CompareOptions
from circle_migrate.diff.ddl.statement import HazardTexts
from circle_migrate.diff.describe import format_counts
from circle_migrate.diff.equivalence import compare_in_scratch
from circle_migrate.diff.expected.expected import at_revisions, expected
from circle_migrate.diff.scope import Models
from circle_migrate.migrate.guards import verify_identity
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.pool import ScratchServers, nearest, no_server_error


async def autogenerate(
    deployment: Deployment, message: str, position: Placement, hazards: HazardTexts
) -> RevisionFilesResult:
    """Write a revision for each selected database whose models have changed.

    A database with a URL must be at head; without a URL, only the files are compared. Files are written after
    all comparisons. Raises `Refused` if a database is not at head, `SettingsError` if models cannot be loaded
    or there is no server for scratch databases.
    """
    states = await _states(deployment)
    drafts = []
    unchanged: list[str] = []
    notes: list[str] = []
    failed: list[str] = []
    async with ScratchServers(deployment) as servers:
        for name in deployment.selected:
            goal, proposal, live_notes = await _compare(deployment, name, servers, states.get(name), hazards)
            notes += [f"{name}: {note}" for note in live_notes]
            if proposal is None:
                unchanged.append(name)
                continue
            bodies = proposal.upgrade.text(), proposal.downgrade.text()
            made = new_drafts(deployment, name, message, position, bodies)
            if [(it.upgrade, it.downgrade) for it in made] != [bodies]:
                changed = "changed what the revision does" if made else "left nothing of the revision"
                notes.append(f"{name}: process-revision-directives {changed}")
                proposal = await try_drafts(goal, made) if made else None
            if proposal is None:
                unchanged.append(name)
                continue
            notes += [f"{name}: {note}" for note in proposal.notes()]
            failed += [name] if proposal.fails else []
            drafts += made
    revisions, failures = write_all(drafts)
    return RevisionFilesResult("revision", revisions, tuple(unchanged), (*notes, *failures), tuple(failed))


async def _states(deployment: Deployment) -> dict[str, State]:
    """Return the states of the databases with a URL. Raises `Refused` if one has pending revisions."""
    graphs = deployment.graphs
    for name, graph in graphs.items():
        if deployment.databases[name].settings.process_revision_directives is None:
            graph.head()
    located = [name for name in deployment.selected if deployment.databases[name].settings.url is not None]
    states = await deployment.states(located) if located else {}
    for name, current in verify_identity(deployment, states).items():
        pending = graphs[name].pending(current)
        if pending:
            message = f"database {name} has {format_counts({'pending revision': len(pending)})}"
            hint = "first: circle-migrate upgrade; or unset the database's URL to compare the files only"
            raise Refused(message, database=name, hint=hint)
    return states


async def _compare(
    deployment: Deployment, name: str, servers: ScratchServers, live: State | None, hazards: HazardTexts
) -> tuple[ModelDiff, Proposal | None, list[str]]:
    """Return the goal, the new revision, None if nothing has changed, and notes on the live database.

    The PostgreSQL version is that of the live database, or the nearest available.
    """
    alone = Deployment(deployment.settings, name)
    database = alone.databases[name]
    live_major = () if live is None else (live.server_version_num // 10000,)
    majors = await servers.majors(name, *live_major)
    if not majors and live is None:
        raise no_server_error(f"{name}: the catalog of its revisions is not available: ")
    (preferred,) = live_major or majors[:1]
    major = nearest(majors, preferred) or preferred
    heads = database.graph.effective_heads
    head = (await expected(alone, name, heads, major, servers=servers)).snapshot
    models = (await expected(alone, name, None, major, servers=servers)).snapshot
    open_scratch = partial(at_revisions, alone, servers, heads, major)
    options = CompareOptions(
        database.settings.profile,
        ignore=alone.settings.diff_ignore,
        leave_out=Filters(database.settings).leave_out if database.settings.has_filters else None,
    )
    of_models = replace(options, models=Models.AFTER, partitions=True)
    metadata = load_models(database.settings)
    goal = ModelDiff(head, models, metadata, of_models, hazards, open_scratch)
    proposal = await propose(goal)
    if live is None:
        variable = database.settings.url_env
        return goal, proposal, [f"the live database was not checked, because {variable} is not set"]
    notes = []
    if head.major not in live_major:
        notes.append(
            f"the revision was created with PostgreSQL {head.major}, because there is no server for "
            f"scratch databases of version {preferred}"
        )
    try:
        drift = await compare_in_scratch(head, await read_live_catalog(database), options, open_scratch)
    except MigrateError as error:
        notes.append(f"the live database could not be compared with its revisions: {error.message}")
        return goal, proposal, notes
    count = sum(difference.severity is Severity.ERROR for difference in drift.differences)
    if count:
        notes.append(
            f"the live database differs from its revisions in {format_counts({'object': count})}, and "
            f"the new revision does not change that: circle-migrate diff --database {name}"
        )
    return goal, proposal, notes
