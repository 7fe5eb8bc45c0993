"""Write the snapshots that are shipped beside the trees, or find those that are out of date."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.core.errors import ExitCode, SettingsError, UsageError
from circle_migrate.core.findings import Check, Finding, Report, Severity
from circle_migrate.diff.expected.build import upgrade_scratch
from circle_migrate.diff.expected.shipped import file_name, majors_in, snapshots_folder, source_of
from circle_migrate.diff.expected.snapshot_file import Stored, read_stored, write
from circle_migrate.migrate.planner import Planner
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.deployment import Deployment, folders
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.revision_graph.plan import Direction, Step

if TYPE_CHECKING:
    from circle_migrate.postgres.catalog.snapshot import Snapshot

_READABLE_FOR_ALL = 0o644


@dataclass(frozen=True, slots=True)
class _State:
    """What one database is after a step: the file for it, and its content."""

    database: str
    file: str
    stored: Stored


async def build_snapshots(
    deployment: Deployment,
    folder: Path | None = None,
    majors: Sequence[int] = (),
    *,
    check: bool = False,
) -> Report:
    """Run all revisions in scratch databases, one at a time, and ship a snapshot of the state after each.

    In `folder`, one folder in it for each database; by default where `expected` looks for them. For these
    PostgreSQL major versions, by default all for which there is a server. Files that are as they should be
    are left alone, those of revisions that are gone are removed. With `check` nothing is written: what is
    out of date is a finding, and shipped versions for which there is no server are skipped.

    Raises `SettingsError` for a version without a server, and what the revisions raise when they run.
    """
    settings = deployment.settings._replace(scratch_on_target=False)
    here = Deployment(settings, deployment.selected[0] if len(deployment.selected) == 1 else None)
    places = {
        name: folder / name if folder else snapshots_folder(here.databases[name]) for name in here.selected
    }
    checks: list[Check] = []
    async with ScratchServers(here) as servers:
        possible = await servers.majors(here.selected[0], *majors)
        shipped = {major for place in places.values() for major in majors_in(place)} if check else set()
        for major in sorted({*majors} or {*possible, *shipped}):
            if major in possible:
                checks += await _one_major(servers, places, major, check=check)
            elif check:
                checks.append(_skipped(major))
            else:
                raise SettingsError(
                    f"there is no server for scratch databases of PostgreSQL {major}",
                    hint="name one: --scratch-url URL",
                )
    return Report("dev snapshots", tuple(checks), folders=folders(deployment))


def _skipped(major: int) -> Check:
    why = "there is no server for scratch databases of this version"
    return Check(f"snapshots-pg{major}", f"snapshots for PostgreSQL {major}", skipped=why)


async def _one_major(
    servers: ScratchServers, places: dict[str, Path], major: int, *, check: bool
) -> list[Check]:
    wanted: dict[str, list[_State]] = {name: [] for name in places}
    async with servers.databases(major=major) as made:
        async for state in _states(made):
            if state.database in wanted:
                wanted[state.database].append(state)
    report = _verify if check else _write
    return [report(name, places[name], states, major) for name, states in wanted.items()]


async def _states(made: Scratch) -> AsyncIterator[_State]:
    """Every state on the way from empty to the heads, in the order in which an upgrade passes them."""
    copies = made.deployment
    at: dict[str, tuple[str, ...]] = dict.fromkeys(made.majors, ())
    for name in at:
        yield await _state(copies, name, ())
    plan = Planner(copies, ["heads"], Direction.UP)(at)
    for action in (step for step in plan.actions if isinstance(step, Step)):
        name, revision = action.database, action.revision.id
        await upgrade_scratch(made, [action.revision.qualified])
        at[name] = copies.forest.graphs[name].version_rows_after_upgrade(at[name], revision)
        yield await _state(copies, name, at[name])


async def _state(copies: Deployment, name: str, revisions: tuple[str, ...]) -> _State:
    database = copies.databases[name]
    taken: Snapshot = await read_live_catalog(database)
    origin = f"revisions@{','.join(revisions) or 'base'}"
    stored = Stored(replace(taken, origin=origin, revisions=revisions), source_of(database, revisions))
    return _State(name, file_name(revisions, taken.major), stored)


def _write(name: str, folder: Path, states: list[_State], major: int) -> Check:
    folder.mkdir(parents=True, exist_ok=True)
    changed = [state for state in states if not _is_current(folder / state.file, state.stored)]
    for state in changed:
        write(folder / state.file, state.stored.snapshot, state.stored.source, mode=_READABLE_FOR_ALL)
    surplus = _surplus(folder, states, major)
    for path in surplus:
        path.unlink()
    title = (
        f"{name}, PostgreSQL {major}: {len(changed)} written, {len(states) - len(changed)} as they were, "
        f"{len(surplus)} removed in {folder}"
    )
    return Check(f"snapshots-{name}-pg{major}", title)


def _verify(name: str, folder: Path, states: list[_State], major: int) -> Check:
    stale = [folder / state.file for state in states if not _is_current(folder / state.file, state.stored)]
    findings = tuple(
        Finding(
            rule="stale-snapshot",
            severity=Severity.ERROR,
            message=f"{name}: {path.name} is not what the revisions lead to on PostgreSQL {major}",
            status=ExitCode.DRIFT,
            database=name,
            subject=path.name,
            file=str(path) if path.exists() else None,
        )
        for path in (*stale, *_surplus(folder, states, major))
    )
    return Check(
        f"snapshots-{name}-pg{major}", f"{name}: snapshots for PostgreSQL {major} are current", findings
    )


def _is_current(path: Path, wanted: Stored) -> bool:
    """Whether the file says the same, whatever minor version of PostgreSQL and of this package wrote it."""
    with suppress(UsageError):
        stored = read_stored(path)
        same = replace(stored.snapshot, server_version_num=wanted.snapshot.server_version_num)
        return replace(stored, snapshot=same, tool=wanted.tool) == wanted
    return False


def _surplus(folder: Path, states: list[_State], major: int) -> list[Path]:
    """Files of revisions that the tree does not have."""
    wanted = {state.file for state in states}
    return sorted(path for path in folder.glob(f"*.pg{major}.json.gz") if path.name not in wanted)
