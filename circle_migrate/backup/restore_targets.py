"""Restore the targets of a restore: into their empty databases, or into new databases that replace them."""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence

from circle_migrate.backup import swap
from circle_migrate.backup.contents import catalog_digest, database_size, report_growth, uses_tls
from circle_migrate.backup.preflight import RestoreTarget
from circle_migrate.backup.swap import StagedDatabase
from circle_migrate.config.url.environment import environment
from circle_migrate.core.byte_size import format_bytes
from circle_migrate.core.errors import Interrupted, MigrateError, RestoreFailed
from circle_migrate.core.events import Event, EventKind, Notify
from circle_migrate.core.shield import shield
from circle_migrate.migrate.guards import ensure_own_tables
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.protection import copy_marker
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.database import APPLICATION_NAME, Database, State
from circle_migrate.postgres.journal_tables import ProtectionMarker
from circle_migrate.postgres.server_errors import server_message

NAME = f"{APPLICATION_NAME} restore"


def announce(targets: Sequence[RestoreTarget], notify: Notify) -> None:
    """Announce the restore of every target."""
    for target in targets:
        notify(Event(EventKind.PLANNED, target.name, "", total=len(targets), steps=("restore",)))


async def restore_in_place(targets: Sequence[RestoreTarget], notify: Notify) -> None:
    """Restore into the empty databases, one after the other. Errors tell the state of every database."""
    restored: list[str] = []
    for number, target in enumerate(targets, start=1):
        try:
            await _restore(target, target.database, (number, len(targets)), notify)
        except asyncio.CancelledError:
            _uncancel()
            raise Interrupted("interrupted", state=_state(targets, restored, target)) from None
        except MigrateError as error:
            error.state = _state(targets, restored, target)
            error.hint = error.hint or "correct the cause and run the same command for the empty databases"
            raise
        restored.append(target.name)


async def restore_to_staging(targets: Sequence[RestoreTarget], notify: Notify) -> list[StagedDatabase]:
    """Restore into new databases beside those of the targets. If one fails, drop all of them."""
    token = secrets.token_hex(4)
    copies: list[StagedDatabase] = []
    try:
        for number, target in enumerate(targets, start=1):
            copies.append(await swap.create(target.database, token))
            await _restore(target, copies[-1].connection_target, (number, len(targets)), notify)
    except BaseException as error:
        await _drop_staging(copies, error)
        raise
    return copies


async def copy_protection(copies: Sequence[StagedDatabase], states: Mapping[str, State]) -> None:
    """Protect the copies like the live databases, whose protection an older dump would lift."""
    try:
        for copy in copies:
            state = states[copy.database.name]
            if state.marker is not None and (await copy.connection_target.state()).marker is None:
                await _copy_marker(copy, state.marker)
    except BaseException as error:
        await _drop_staging(copies, error)
        raise


async def _copy_marker(copy: StagedDatabase, marker: ProtectionMarker) -> None:
    name, database = copy.database.name, copy.connection_target
    try:
        async with database.connected(NAME) as connection:
            state = await database.read_state(connection)
            ensure_own_tables({name: state})
            await Journal(database, state).ensure(connection)
            await copy_marker(connection, database.settings.journal_schema, marker)
    except MigrateError:
        raise
    except Exception as error:
        raise RestoreFailed(
            f"{name}: the protection cannot be copied to the restored database",
            database=name,
            detail=server_message(error),
        ) from error


async def swap_in(copies: Sequence[StagedDatabase], *, disconnect: bool) -> None:
    """Replace the live databases by the copies, all or none if possible; shielded from interruption."""
    task = asyncio.ensure_future(swap.swap(copies, disconnect=disconnect))
    try:
        await shield(task)
    except asyncio.CancelledError:
        if task.exception() is None:
            _uncancel()
            raise Interrupted("interrupted", state="every database was replaced") from None
        await _drop_staging(copies, task.exception())
        raise
    except MigrateError as error:
        if error.state is None or error.state == swap.UNCHANGED:
            await _drop_staging(copies, error)
        raise


async def _drop_staging(copies: Sequence[StagedDatabase], error: BaseException | None) -> None:
    """Drop the copies, and name those that remain in the state of the error."""
    remaining = await shield(swap.drop(copies))
    if isinstance(error, MigrateError):
        error.state = swap.UNCHANGED
        if remaining:
            error.state += f"; these databases could not be dropped: {', '.join(remaining)}"


async def _restore(target: RestoreTarget, database: Database, place: tuple[int, int], notify: Notify) -> None:
    """Restore the dump of a target into an empty database, and verify that it is complete."""
    started = time.monotonic()
    notify(Event(EventKind.STARTED, target.name, "restore", *place))
    async with database.connected(NAME) as connection:

        async def measure() -> int:
            return await database_size(connection)

        def report(size: int) -> None:
            text = f"{format_bytes(size)} of about {format_bytes(target.dump.database_bytes)}"
            notify(Event(EventKind.COPYING, target.name, text))

        address = await database.authenticated_address()
        with environment(address, NAME, encrypted=await uses_tls(connection)) as env:
            async with report_growth(measure, report):
                await target.job.restore(target.name, target.file, env)
    await _ensure_same_contents(target, database)
    notify(Event(EventKind.DONE, target.name, "restore", *place, time.monotonic() - started))
    notify(Event(EventKind.COMMITTED, target.name, "restore", *place))


async def _ensure_same_contents(target: RestoreTarget, database: Database) -> None:
    """Raise `RestoreFailed` if the restored database differs from the manifest."""
    state = await database.state()
    digest = catalog_digest(await read_live_catalog(database))
    difference = target.dump.differs_from(digest.objects, digest.digest, state.server_version_num // 10000)
    if set(state.current) != set(target.dump.revisions):
        difference = f"it is at {', '.join(state.current) or 'base'}"
    if difference:
        raise RestoreFailed(
            f"{target.name}: the restored database differs from the dumped one",
            database=target.name,
            detail=difference,
        )


def _state(targets: Sequence[RestoreTarget], restored: Sequence[str], failed: RestoreTarget) -> str:
    """Describe the state of every database after one target has failed."""
    parts = [f"{name} is restored" for name in restored]
    if failed.job.jobs > 1:
        parts.append(f"{failed.name} is partly restored: drop it and create it again, empty")
    else:
        parts.append(f"{failed.name} is empty, as before")
    unchanged = [target.name for target in targets if target.name not in (*restored, failed.name)]
    parts += [f"{name} was not changed" for name in unchanged]
    if restored:
        parts.append(f"to continue, run the same command with -d {failed.name}")
    return "; ".join(parts)


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
