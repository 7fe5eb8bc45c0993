"""Derive a squashed revision from two catalogs, and prove it on scratch databases before it is written."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from circle_migrate.commands.squash.data_statements import changed_counts, data_statements, row_counts
from circle_migrate.commands.squash.revision_range import revisions_to_squash
from circle_migrate.core.atomic_write import write_bytes
from circle_migrate.core.errors import Refused
from circle_migrate.core.events import ignore_event
from circle_migrate.core.result import Result, json_fields
from circle_migrate.diff.autogenerate.placement import Placement, new_names
from circle_migrate.diff.autogenerate.revision_file import RevisionFile, prepare, write_prepared
from circle_migrate.diff.compare import CompareOptions
from circle_migrate.diff.ddl.render import body
from circle_migrate.diff.ddl.script import MigrationScript, generate
from circle_migrate.diff.ddl.statement import HazardTexts
from circle_migrate.diff.describe import summary
from circle_migrate.diff.equivalence import compare_in_scratch
from circle_migrate.diff.expected.expected import upgrade_scratch
from circle_migrate.diff.expected.trial import run_trial
from circle_migrate.diff.result import Comparison
from circle_migrate.migrate.run import Hooks
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.pool import ScratchServers, no_server_error
from circle_migrate.revision_graph.directory import SQUASHED
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.plan import Direction, Plan, plan_downgrade, plan_exactly
from circle_migrate.revision_graph.revision import Revision

_STRICT = CompareOptions("strict", partitions=True, column_order=True)
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class SquashResult(Result):
    """The squashed revision: its file, the text of the file, and notes; `dry_run` has not written it."""

    revision: Revision
    text: str
    dry_run: bool = False
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the revision with what it replaces, its text and the notes."""
        return json_fields(self, "revision text dry_run notes")


@dataclass(frozen=True, slots=True)
class _Chain:
    """What the replaced revisions do on an empty database: catalogs, numbers of rows, data statements."""

    before: Snapshot
    after: Snapshot
    changed_rows: tuple[str, ...]
    statements: tuple[str, ...]


async def squash(
    deployment: Deployment,
    text: str,
    message: str | None,
    hazards: HazardTexts,
    *,
    rev_id: str | None = None,
    dry_run: bool = False,
) -> SquashResult:
    """Write one revision that replaces those of a range `FROM:TO`; `dry_run` proves it only.

    Its statements lead from the catalog before FROM to the one after TO. On scratch databases it must lead to
    the same catalog as the replaced revisions, and its downgrade to the one before them. Raises `Refused`
    where it does not, where the revisions write rows that an empty database needs, and for the ranges that
    `revisions_to_squash` refuses; `SettingsError` without a server for scratch databases.
    """
    line = revisions_to_squash(deployment, text)
    name = line[0].database
    key, _ = new_names(deployment.graphs[name], Placement(id=rev_id))
    alone = Deployment(deployment.settings, name)
    async with ScratchServers(alone) as servers:
        majors = await servers.majors(name)
        if not majors:
            raise no_server_error(f"{name}: a squashed revision cannot be proved: ")
        chain = await _run_chain(alone, servers, line, majors[0])
        notes = _ensure_no_data(line, chain)
        draft = replace(await _draft(alone, servers, line, message, chain, hazards), id=key)
        file = prepare(draft)
        path = file.path
        with TemporaryDirectory() as folder:
            written = Path(folder, path.name)
            write_bytes(written, file.source)
            await _prove(alone, servers, line, draft, written, chain)
    revision = Revision(
        *(name, draft.id, draft.message.partition("\n")[0], str(path)),
        down_revisions=draft.down,
        requires=draft.requires,
        irreversible=draft.irreversible,
        replaces=draft.replaces,
    )
    notes += _plain_alembic_notes(alone.databases[name], path)
    if not dry_run:
        (revision,), failures = write_prepared([file])
        notes += failures
    return SquashResult("squash", revision, file.source.decode(), dry_run, notes)


@asynccontextmanager
async def _before(
    deployment: Deployment, servers: ScratchServers, line: Sequence[Revision], major: int
) -> AsyncIterator[tuple[Scratch, Database]]:
    """Open scratch databases at what is before the range; what the range requires is applied, too."""
    name = line[0].database
    needed = dict.fromkeys([name, *deployment.reachable_databases(Direction.UP)])
    async with servers.databases(needed, major=major) as scratch:
        graph = scratch.deployment.combined_graph
        parents = {f"{name}@{key}" for key in line[0].down_revisions}
        required = graph.requirements({revision.qualified for revision in line})
        await upgrade_scratch(scratch, graph.with_dependencies(parents | required))
        yield scratch, scratch.deployment.databases[name]


async def _run_chain(
    deployment: Deployment, servers: ScratchServers, line: Sequence[Revision], major: int
) -> _Chain:
    from circle_migrate.safety.trace.recorder import TraceHooks

    hooks = TraceHooks()
    keys = [revision.qualified for revision in line]
    async with _before(deployment, servers, line, major) as (scratch, database):
        before, counts = await read_live_catalog(database), await _row_counts(database)
        graph = scratch.deployment.combined_graph
        await _execute(scratch, lambda current: plan_exactly(graph, current, keys), hooks)
        changed = tuple(changed_counts(counts, await _row_counts(database)))
        after = await read_live_catalog(database)
    return _Chain(before, after, changed, tuple(data_statements(hooks.statements)))


async def _row_counts(database: Database) -> dict[str, int]:
    async with database.reading() as connection:
        return await row_counts(connection, database.settings.version_table)


async def _execute(scratch: Scratch, planner: Callable[[Current], Plan], hooks: Hooks | None = None) -> None:
    from circle_migrate.migrate.executor import RunOptions, execute

    options = RunOptions("squash", allow_edited=True, hooks=hooks or Hooks())
    run = partial(execute, scratch.deployment, tuple(scratch.majors), planner, ignore_event, options)
    await scratch.run_adding_missing_roles(run)


def _ensure_no_data(line: Sequence[Revision], chain: _Chain) -> tuple[str, ...]:
    """Return notes on statements that write no row in an empty database. Raises `Refused` for others."""
    listed = "\n".join([*chain.statements[:_SHOWN], *["…"] * (len(chain.statements) > _SHOWN)])
    name, first = line[0].database, line[0]
    hint = "end the range before these revisions, or begin it after them"
    if chain.changed_rows:
        raise Refused(
            f"{name}: the range writes rows, which cannot be derived from two catalogs: "
            + ", ".join(chain.changed_rows),
            database=name,
            detail=listed or None,
            hint=hint,
        )
    if chain.statements and first.down_revisions:
        raise Refused(
            f"{name}: the range has statements that write rows, and a database before {first.id} may have "
            "rows that they change",
            database=name,
            detail=listed,
            hint=f"{hint}; or begin it at the first revision, before which there are no rows",
        )
    return tuple(
        f"left out, as it writes no row in an empty database: {statement}" for statement in chain.statements
    )


async def _draft(
    deployment: Deployment,
    servers: ScratchServers,
    line: Sequence[Revision],
    message: str | None,
    chain: _Chain,
    hazards: HazardTexts,
) -> RevisionFile:
    """Return the file whose functions lead from one catalog to the other. Raises `Refused` for gaps."""
    database = deployment.databases[line[0].database]
    async with _before(deployment, servers, line, chain.before.major) as (_, scratch_database):
        comparison = await compare_in_scratch(
            chain.before, chain.after, _STRICT, lambda: nullcontext(scratch_database)
        )
    comparison = replace(comparison, default_schema=database.settings.default_schema)
    irreversible = next(filter(None, map(_irreversible, line)), None)
    directions = (False,) if irreversible else (False, True)
    trials = {undo: await run_trial(servers, comparison, undo=undo) for undo in directions}
    comparison = replace(comparison, trials=trials)
    scripts = [generate(comparison, undo=undo) for undo in directions]
    for script, function in zip(scripts, ("upgrade", "downgrade"), strict=False):
        _ensure_complete(script, function, line)
    scripts[1:] = [_without_hazards(script) for script in scripts[1:]]
    upgrade, *downgrade = (body(script, hazards, comparison.default_schema) for script in scripts)
    return RevisionFile(
        database,
        message or f"squash {line[0].id} to {line[-1].id}",
        line[0].down_revisions,
        upgrade=upgrade,
        downgrade="".join(downgrade) or "    pass",
        replaces=tuple(revision.id for revision in line),
        requires=tuple(dict.fromkeys(need for revision in line for need in revision.requires)),
        irreversible=irreversible,
    )


def _without_hazards(script: MigrationScript) -> MigrationScript:
    """Return the script of a downgrade, where what it deletes is no surprise."""
    return replace(script, statements=tuple(replace(item, hazards=()) for item in script.statements))


def _irreversible(revision: Revision) -> str | None:
    if revision.irreversible is not None:
        return f"{revision.id}: {revision.irreversible}"
    return None if revision.has_downgrade else f"{revision.id} has no downgrade()"


def _ensure_complete(script: MigrationScript, function: str, line: Sequence[Revision]) -> None:
    problems = [script.untried] if script.untried else [*script.incomplete]
    if problems:
        raise Refused(
            f"{line[0].database}: {function}() cannot do what {line[0].id} to {line[-1].id} do",
            database=line[0].database,
            detail="\n".join(problems),
            hint="end the range before the revision that does this, or begin it after that",
        )


async def _prove(
    deployment: Deployment,
    servers: ScratchServers,
    line: Sequence[Revision],
    draft: RevisionFile,
    path: Path,
    chain: _Chain,
) -> None:
    """Run the file on a scratch database, in both directions, as an upgrade and a downgrade do."""
    from circle_migrate.revision_graph.parse_file import read_revision

    name = line[0].database
    squashed = read_revision(name, path)
    keys = {squashed.id, *squashed.replaces}
    async with _before(deployment, servers, line, chain.before.major) as (scratch, database):
        counts = await _row_counts(database)
        database.graph = Graph(name, [*deployment.graphs[name].revisions.values(), squashed])
        del scratch.deployment.combined_graph
        graph = scratch.deployment.combined_graph
        await _execute(scratch, lambda current: plan_exactly(graph, current, [squashed.qualified]))
        await _ensure_same(database, chain.after, counts, f"{squashed.id} leads to another catalog than TO")
        if draft.irreversible is not None:
            return

        def planner(current: Current) -> Plan:
            return plan_downgrade(graph, current, {name: set(keys)}, cascade=True)

        await _execute(scratch, planner)
        reason = f"the downgrade of {squashed.id} does not lead to the catalog before FROM"
        await _ensure_same(database, chain.before, counts, reason)


async def _ensure_same(
    database: Database, expected: Snapshot, counts: Mapping[str, int], message: str
) -> None:
    current = await read_live_catalog(database)
    comparison: Comparison = await compare_in_scratch(
        current, expected, _STRICT, lambda: nullcontext(database)
    )
    problems = [summary(difference, comparison) for difference in comparison.differences]
    problems += changed_counts(dict(counts), await _row_counts(database))
    if problems:
        raise Refused(
            f"{database.name}: {message}",
            database=database.name,
            detail="\n".join(problems),
            hint="end the range before the revision that does this, or begin it after that",
        )


def _plain_alembic_notes(database: Database, path: Path) -> tuple[str, ...]:
    note = (
        f"plain Alembic does not read the folder {SQUASHED} and goes on with the replaced files; when no "
        f"database is at one of them any more, delete them and move {path.name} to their folder"
    )
    if database.settings.revisions.recursive:
        note = (
            "plain Alembic sees a second head until the replaced files are deleted, as alembic.ini has "
            "recursive_version_locations"
        )
    return (note,)
