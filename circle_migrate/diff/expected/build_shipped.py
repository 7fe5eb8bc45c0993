"""Write the shipped snapshots, or find outdated ones."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from circle_migrate.core.errors import ExitCode, SettingsError, UsageError
from circle_migrate.core.findings import Check, Finding, Report, Severity
from circle_migrate.diff.expected import snapshot_file as files
from circle_migrate.diff.expected.expected import upgrade_scratch
from circle_migrate.diff.expected.snapshot_file import SnapshotFile, majors_in, snapshots_folder
from circle_migrate.migrate.planner import Planner
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.deployment import Deployment, revision_folders
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.revision_graph.plan import Direction, Step


async def build_snapshots(
    deployment: Deployment, folder: Path | None = None, majors: Sequence[int] = (), *, check: bool = False
) -> Report:
    """Apply all revisions in scratch databases, one at a time, and write a snapshot after each.

    Files are written to `folder`/DATABASE, by default to the folders of shipped snapshots, for `majors`, by
    default for each PostgreSQL major version that has a server. Current files are not changed; files of
    removed revisions are deleted. With `check` nothing is written: an outdated file is a finding, and shipped
    versions without a server are skipped.

    Raises `SettingsError` for a version without a server, and what the revisions raise.
    """
    settings = deployment.settings.model_copy(update={"scratch_on_target": False})
    deployment = Deployment(settings, deployment.selected)
    targets = {
        name: folder / name if folder else snapshots_folder(deployment.databases[name])
        for name in deployment.selected
    }
    checks: list[Check] = []
    async with ScratchServers(deployment) as servers:
        possible = await servers.majors(deployment.selected[0], *majors)
        shipped = {major for target in targets.values() for major in majors_in(target)} if check else set()
        for major in sorted({*majors} or {*possible, *shipped}):
            if major in possible:
                checks += await _build_major(servers, targets, major, check=check)
            elif check:
                reason = "there is no server for scratch databases of this version"
                title = f"snapshots for PostgreSQL {major}"
                checks.append(Check(f"snapshots-pg{major}", title, skipped=reason))
            else:
                raise SettingsError(
                    f"there is no server for scratch databases of PostgreSQL {major}",
                    hint="name a server with --scratch-url URL",
                )
    return Report("dev snapshots", tuple(checks), folders=revision_folders(deployment))


async def _build_major(
    servers: ScratchServers, targets: dict[str, Path], major: int, *, check: bool
) -> list[Check]:
    states: dict[str, dict[str, SnapshotFile]] = {name: {} for name in targets}
    async with servers.databases(major=major) as scratch:
        async for name, revisions in _steps(scratch):
            if name in states:
                database = scratch.deployment.databases[name]
                origin = f"revisions@{','.join(revisions) or 'base'}"
                snapshot = replace(await read_live_catalog(database), origin=origin, revisions=revisions)
                stored = SnapshotFile(snapshot, files.source_of(database, revisions))
                states[name][files.file_name(revisions, snapshot.major)] = stored
    return [_report(name, targets[name], states[name], major, check=check) for name in targets]


async def _steps(scratch: Scratch) -> AsyncIterator[tuple[str, tuple[str, ...]]]:
    """Upgrade from empty databases to the heads; yield each database and its revisions after each step."""
    deployment = scratch.deployment
    current: dict[str, tuple[str, ...]] = dict.fromkeys(scratch.majors, ())
    for name in current:
        yield name, ()
    plan = Planner(deployment, ["heads"], Direction.UP)(current)
    for step in (action for action in plan.actions if isinstance(action, Step)):
        name, graph = step.database, deployment.combined_graph.graphs[step.database]
        await upgrade_scratch(scratch, [step.revision.qualified])
        current[name] = graph.version_rows_after_upgrade(current[name], step.revision.id)
        yield name, current[name]


def _report(name: str, folder: Path, states: dict[str, SnapshotFile], major: int, *, check: bool) -> Check:
    """Write outdated files and delete those of removed revisions; with `check`, return both as findings."""
    outdated = [file for file, stored in states.items() if not _is_current(folder / file, stored)]
    surplus = sorted(path for path in folder.glob(f"*.pg{major}.json.gz") if path.name not in states)
    key = f"snapshots-{name}-pg{major}"
    if check:
        findings = tuple(
            Finding(
                rule="stale-snapshot",
                severity=Severity.ERROR,
                message=f"{name}: {path.name} does not match the revisions on PostgreSQL {major}",
                status=ExitCode.DRIFT,
                database=name,
                subject=path.name,
                file=str(path) if path.exists() else None,
            )
            for path in (*(folder / file for file in outdated), *surplus)
        )
        return Check(key, f"{name}: snapshots for PostgreSQL {major} are current", findings)
    folder.mkdir(parents=True, exist_ok=True)
    for file in outdated:  # readable for all users, as revision files are
        files.write(folder / file, states[file].snapshot, states[file].source, mode=0o644)
    for path in surplus:
        path.unlink()
    title = (
        f"{name}, PostgreSQL {major}: {len(outdated)} written, {len(states) - len(outdated)} unchanged, "
        f"{len(surplus)} removed in {folder}"
    )
    return Check(key, title)


def _is_current(path: Path, built: SnapshotFile) -> bool:
    """Return whether the file is up to date; minor versions and the version of circle-migrate may differ."""
    with suppress(UsageError):
        stored = files.read(path)
        same = replace(stored.snapshot, server_version_num=built.snapshot.server_version_num)
        return replace(stored, snapshot=same, tool=built.tool) == built
    return False
