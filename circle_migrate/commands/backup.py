"""`backup`: dump every database from one consistent snapshot, verify the dumps and write a manifest.

Only a complete and verified backup has a manifest and a folder with the final name.
"""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from circle_migrate import __version__
from circle_migrate.backup import contents
from circle_migrate.backup.dump import DumpJob, ensure_readable
from circle_migrate.backup.manifest import BackupResult, Dump, Manifest, new_file, sha256, write_manifest
from circle_migrate.backup.pg_programs import find
from circle_migrate.config.url.environment import environment
from circle_migrate.core.byte_size import format_bytes
from circle_migrate.core.errors import BackupFailed, UsageError
from circle_migrate.core.events import Event, EventKind, Notify, ignore_event
from circle_migrate.migrate.guards import ensure_distinct, ensure_not_in_doubt, ensure_not_swapped
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.server_errors import server_message

UNFINISHED = ".unfinished"
"""The end of the name of a folder whose backup is not complete."""


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """Options of a backup, which becomes a new folder in `folder`.

    `programs` is the folder of pg_dump and pg_restore, None to search for them. `encrypt_to` is a recipient
    of `age`, or a file with recipients, for the databases whose profile is strict.
    """

    folder: Path
    programs: Path | None = None
    encrypt_to: str | None = None


async def backup(
    deployment: Deployment, options: BackupOptions, *, locked: bool = False, notify: Notify = ignore_event
) -> BackupResult:
    """Dump the selected databases from one consistent snapshot into a new folder.

    Holds the deployer locks until the dumps are complete, unless the caller does (`locked`). Leaves nothing
    behind after an error.
    """
    databases = {name: deployment.databases[name] for name in deployment.selected}
    states = await deployment.states()
    ensure_distinct(states)
    ensure_not_swapped(deployment, states)
    ensure_not_in_doubt(states)
    jobs = plan_dumps(deployment, states, options)
    lock_wait = deployment.settings.lock_wait

    missing = [path for path in (options.folder, *options.folder.parents) if not path.exists()]
    folder = None
    try:
        folder = _create_folder(options.folder)
        async with contents.export_snapshots(databases, lock_wait, notify, locked=locked) as snapshots:
            ensure_not_in_doubt({name: snapshot.state for name, snapshot in snapshots.by_database.items()})
            dumps = await _dump_all(snapshots, jobs, folder, lock_wait, notify)
            await contents.ensure_sessions_alive(snapshots)
        manifest = Manifest(
            id=secrets.token_hex(16),
            tool_version=__version__,
            created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            spread_ms=snapshots.skew_ms,
            locked=snapshots.locked,
            dumps=dumps,
        )
        unverified = await _verify(deployment, folder, dumps, options.programs)
        return _complete(folder, manifest, unverified)
    except OSError as error:
        raise BackupFailed(
            f"the backup cannot be written to {options.folder}", detail=error.strerror
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # one with a backup in it
            for path in missing:
                path.rmdir()


def plan_dumps(
    deployment: Deployment, states: Mapping[str, State], options: BackupOptions
) -> Mapping[str, DumpJob]:
    """Find the programs for each selected database. Raises `SettingsError` if there are none."""
    return {
        name: DumpJob.plan(
            find("pg_dump", states[name].server_version_num // 10000, options.programs),
            options.programs,
            options.encrypt_to if deployment.databases[name].settings.profile == "strict" else None,
        )
        for name in deployment.selected
    }


async def _dump_all(
    snapshots: contents.ConsistentSnapshots,
    jobs: Mapping[str, DumpJob],
    folder: Path,
    lock_wait: float,
    notify: Notify,
) -> tuple[Dump, ...]:
    for name in jobs:
        notify(Event(EventKind.PLANNED, name, "", total=len(jobs), steps=("dump",)))
    dumps = []
    for number, (name, snapshot) in enumerate(snapshots.by_database.items(), start=1):
        started = time.monotonic()
        notify(Event(EventKind.STARTED, name, "dump", number, len(jobs)))
        dump = await _dump(snapshot, jobs[name], folder, lock_wait, notify)
        dumps.append(dump)
        text = f"dump, {format_bytes(dump.bytes)}"
        notify(Event(EventKind.DONE, name, text, number, len(jobs), time.monotonic() - started))
        notify(Event(EventKind.COMMITTED, name, text, number, len(jobs)))
    return tuple(dumps)


async def _dump(
    snapshot: contents.ExportedSnapshot, job: DumpJob, folder: Path, lock_wait: float, notify: Notify
) -> Dump:
    database, connection = snapshot.database, snapshot.connection
    digest = await _read_catalog_digest(snapshot)
    database_bytes = await contents.database_size(connection)
    path = folder / f"{database.name}{'.dump.age' if job.encryption else '.dump'}"
    os.close(new_file(path))

    async def measure() -> int:
        return path.stat().st_size

    def report(size: int) -> None:
        text = f"{format_bytes(size)} from a database of {format_bytes(database_bytes)}"
        notify(Event(EventKind.COPYING, database.name, text))

    encrypted = await contents.uses_tls(connection)
    with environment(await database.authenticated_address(), contents.NAME, encrypted=encrypted) as env:
        async with contents.report_growth(measure, report):
            await job.dump(snapshot, path, env, lock_wait)
    if job.encryption:
        schema = _schema_file(folder, database.name)
        os.close(new_file(schema))
        address = await database.authenticated_address()  # a token may have expired during the dump
        with environment(address, contents.NAME, encrypted=encrypted) as env:
            async with contents.report_growth(measure, report):
                await job.dump(snapshot, schema, env, lock_wait, "--schema-only")
    else:
        await ensure_readable(job.lister, path, database.name)
    return Dump(
        database=database.name,
        file=path.name,
        bytes=path.stat().st_size,
        sha256=await asyncio.to_thread(sha256, path),
        encrypted=bool(job.encryption),
        dbname=snapshot.state.name,
        database_bytes=database_bytes,
        server_version=snapshot.state.server_version,
        server_version_num=snapshot.state.server_version_num,
        dump_version=job.dumper.version,
        revisions=snapshot.state.current,
        snapshot_at=snapshot.exported_at,
        objects=digest.objects,
        catalogue=digest.digest,
    )


def _schema_file(folder: Path, name: str) -> Path:
    """Return the file of a schema without rows, by which an encrypted dump is verified."""
    return folder / f"{name}.schema"


async def _verify(
    deployment: Deployment, folder: Path, dumps: Sequence[Dump], programs: Path | None
) -> dict[str, str]:
    """Restore the schemas into scratch databases; return by database why that is impossible."""
    from circle_migrate.backup.verify import verify_schemas

    files = {
        dump.database: _schema_file(folder, dump.database) if dump.encrypted else folder / dump.file
        for dump in dumps
    }
    reasons = await verify_schemas(deployment, [(dump, files[dump.database]) for dump in dumps], programs)
    for dump in dumps:
        _schema_file(folder, dump.database).unlink(missing_ok=True)
    return reasons


async def _read_catalog_digest(snapshot: contents.ExportedSnapshot) -> contents.CatalogDigest:
    """Return the digest of the database's catalog at the snapshot."""
    from circle_migrate.postgres.catalog.read import read_catalog

    name, settings = snapshot.database.name, snapshot.database.settings
    try:
        table = settings.version_table, settings.version_table_schema
        catalog = await read_catalog(snapshot.connection, name, "live", *table)
    except Exception as error:
        raise BackupFailed(
            f"{name}: the catalog cannot be read",
            database=name,
            detail=server_message(error),
            hint="if a lock was in the way, run the command again when nobody changes the schema",
        ) from error
    return contents.catalog_digest(catalog)


def _create_folder(parent: Path) -> Path:
    """Create a private folder in `parent` for an incomplete backup."""
    folder = parent / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}{UNFINISHED}"
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise UsageError(
            f"the backup cannot be written to {parent}", detail=error.strerror, hint="give another folder"
        ) from error
    return folder


def _complete(folder: Path, manifest: Manifest, unverified: Mapping[str, str]) -> BackupResult:
    """Write the manifest and give the folder its final name."""
    unfinished = sorted(path.name for path in folder.parent.glob(f"*{UNFINISHED}") if path != folder)
    write_manifest(folder, manifest)
    final = folder.with_name(folder.name.removesuffix(UNFINISHED))
    folder.rename(final)
    for path in (final, final.parent):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    files = [dump.file for dump in manifest.dumps if not dump.encrypted]
    notes = [f"{file} is not encrypted: whoever can read the file can read the data" for file in files]
    if not manifest.locked:
        notes.append("a standby has no deployer lock: a migration may have been replayed during the backup")
    notes += [f"remove {final.parent / name}: an earlier backup did not complete" for name in unfinished]
    notes += [
        f"{name}: whether the dump can be restored was not verified: {reason}"
        for name, reason in unverified.items()
    ]
    return BackupResult("backup", manifest, str(final), tuple(notes), verified=not unverified)
