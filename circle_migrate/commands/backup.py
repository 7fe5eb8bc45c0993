"""Backup: a dump of every database, all from one moment, each verified, and a manifest that names them.

Nothing but a complete and verified backup ever has the folder's final name or a manifest.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate import __version__
from circle_migrate.backup import manifest_file
from circle_migrate.backup.consistent_snapshot import (
    NAME,
    ConsistentSnapshots,
    ExportedSnapshot,
    ensure_sessions_alive,
    export_snapshots,
)
from circle_migrate.backup.contents import CatalogDigest, catalogue, encrypted, size
from circle_migrate.backup.dump import DumpJob, list_contents
from circle_migrate.backup.manifest import BackupResult, Dump, Manifest
from circle_migrate.backup.pg_programs import find
from circle_migrate.backup.progress import report_growth
from circle_migrate.config.url.environment import environment
from circle_migrate.core.byte_size import format_bytes
from circle_migrate.core.errors import BackupFailed, UsageError
from circle_migrate.core.events import Event, Kind, Notify, discard
from circle_migrate.migrate.guards import ensure_not_in_doubt
from circle_migrate.migrate.identity import ensure_distinct, ensure_not_swapped
from circle_migrate.postgres.server_errors import server_message

if TYPE_CHECKING:
    from circle_migrate.postgres.database import State
    from circle_migrate.postgres.deployment import Deployment

_UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """Where backups go and how: each becomes a new folder in `folder`.

    `programs` is where pg_dump and pg_restore are, None to look for them. `encrypt_to` is a recipient of
    `age` or a file with some: for the databases whose profile is strict.
    """

    folder: Path
    programs: Path | None = None
    encrypt_to: str | None = None


async def backup(
    deployment: Deployment, keeping: BackupOptions, *, locked: bool = False, notify: Notify = discard
) -> BackupResult:
    """Dump the selected databases from one moment into a new folder.

    The deployer locks are held until the dumps are complete; a caller that has them says `locked`. Raises
    `SettingsError` without programs that will do, `InDoubt` where a prepared transaction of ours waits,
    `BackupFailed` for a dump that could not be completed, and what connecting and locking raise. Then
    nothing is left behind.
    """
    databases = {name: deployment.databases[name] for name in deployment.selected}
    states = await deployment.states()
    ensure_distinct(states)
    ensure_not_swapped(deployment, states)
    ensure_not_in_doubt(states)
    plans = plan_dumps(deployment, states, keeping)

    folder = _new_folder(keeping.folder)
    try:
        async with export_snapshots(databases, deployment.settings.lock_wait, notify, locked=locked) as taken:
            ensure_not_in_doubt(
                {name: exported_snapshot.state for name, exported_snapshot in taken.of.items()}
            )
            dumps = await _dumped(taken, plans, folder, deployment.settings.lock_wait, notify)
            await ensure_sessions_alive(taken)
        made = Manifest(
            id=secrets.token_hex(16),
            tool_version=__version__,
            created_at=_now(),
            apart=taken.skew_ms,
            locked=taken.locked,
            dumps=dumps,
        )
        return _finished(folder, made)
    except OSError as error:
        raise BackupFailed(
            f"the backup cannot be written to {keeping.folder}",
            detail=error.strerror,
            state="there is no backup; the databases were only read",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def plan_dumps(
    deployment: Deployment, states: Mapping[str, State], keeping: BackupOptions
) -> Mapping[str, DumpJob]:
    """The programs for each selected database. Raises `SettingsError` where there are none that will do."""
    return {
        name: DumpJob.plan(
            find("pg_dump", states[name].server_version_num // 10000, keeping.programs),
            keeping.programs,
            keeping.encrypt_to if deployment.databases[name].settings.profile == "strict" else None,
        )
        for name in deployment.selected
    }


async def _dumped(
    taken: ConsistentSnapshots, plans: Mapping[str, DumpJob], folder: Path, lock_wait: float, notify: Notify
) -> tuple[Dump, ...]:
    for name in plans:
        notify(Event(Kind.PLANNED, name, "", total=len(plans), steps=("dump",)))
    dumps = []
    for number, (name, moment) in enumerate(taken.of.items(), start=1):
        began = time.monotonic()
        notify(Event(Kind.STARTED, name, "dump", number, len(plans)))
        dump = await _dump(moment, plans[name], folder, lock_wait, notify)
        dumps.append(dump)
        text = f"dump, {format_bytes(dump.bytes)}"
        notify(Event(Kind.DONE, name, text, number, len(plans), time.monotonic() - began))
        notify(Event(Kind.COMMITTED, name, text, number, len(plans)))
    return tuple(dumps)


async def _dump(
    moment: ExportedSnapshot, plan: DumpJob, folder: Path, lock_wait: float, notify: Notify
) -> Dump:
    database, connection = moment.database, moment.connection
    held = await _catalog_digest(moment)
    whole = await size(connection)
    path = folder / f"{database.name}{plan.suffix}"
    os.close(manifest_file.new_file(path))

    async def written() -> int:
        return path.stat().st_size

    def tell(found: int) -> None:
        text = f"{format_bytes(found)} from a database of {format_bytes(whole)}"
        notify(Event(Kind.COPYING, database.name, text))

    with environment(database.address, NAME, encrypted=await encrypted(connection)) as env:
        async with report_growth(written, tell):
            await plan.dump(database.name, moment.snapshot, path, env, lock_wait)
    if not plan.encrypts:
        await list_contents(plan.lister, path, database.name)
    return Dump(
        database=database.name,
        file=path.name,
        bytes=path.stat().st_size,
        sha256=await asyncio.to_thread(manifest_file.sha256, path),
        encrypted=plan.encrypts,
        dbname=moment.state.name,
        database_bytes=whole,
        server_version=moment.state.server_version,
        server_version_num=moment.state.server_version_num,
        dump_version=plan.dumper.version,
        revisions=moment.state.current,
        snapshot_at=moment.at,
        objects=held.objects,
        catalogue=held.digest,
    )


async def _catalog_digest(moment: ExportedSnapshot) -> CatalogDigest:
    """What the database consists of at its moment."""
    from circle_migrate.postgres.catalog.read import read_catalog

    name, settings = moment.database.name, moment.database.settings
    try:
        snapshot = await read_catalog(
            moment.connection,
            name,
            "live",
            version_table=settings.version_table,
            version_table_schema=settings.version_table_schema,
        )
    except Exception as error:
        raise BackupFailed(
            f"{name}: its catalogue cannot be read",
            database=name,
            detail=server_message(error),
            state="there is no backup; the databases were only read",
            hint="somebody changes the schema, if it was a lock: try again at a quieter time",
        ) from error
    return catalogue(snapshot)


def _new_folder(parent: Path) -> Path:
    """A private folder in `parent` for a backup that is not complete yet."""
    made = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    folder = parent / f"{made}{_UNFINISHED}"
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise UsageError(
            f"no backup can be written to {parent}", detail=error.strerror, hint="name another folder"
        ) from error
    return folder


def _finished(folder: Path, made: Manifest) -> BackupResult:
    """Write the manifest and give the folder its final name."""
    left = sorted(path.name for path in folder.parent.glob(f"*{_UNFINISHED}") if path != folder)
    manifest_file.write(folder, made)
    final = folder.with_name(folder.name.removesuffix(_UNFINISHED))
    folder.rename(final)
    for path in (final, final.parent):
        _sync(path)
    notes = [
        f"{dump.file} is not encrypted, and whoever reads it has what the database holds: keep it safe"
        for dump in made.dumps
        if not dump.encrypted
    ]
    if not made.locked:
        notes.append("on a standby there is no deployer lock: a migration may have been replayed meanwhile")
    notes += [f"{final.parent / name} is left from a backup that was killed: remove it" for name in left]
    return BackupResult("backup", made, str(final), tuple(notes))


def _sync(folder: Path) -> None:
    """See to it that the folder's entries are on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
