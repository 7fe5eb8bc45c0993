"""Filling databases from their dumps, in place or beside those they are to replace."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from circle_migrate.backup import swap as beside
from circle_migrate.backup.contents import catalogue, encrypted, size
from circle_migrate.backup.progress import report_growth
from circle_migrate.config.url.environment import environment
from circle_migrate.core.byte_size import format_bytes
from circle_migrate.core.errors import Interrupted, MigrateError, RestoreFailed
from circle_migrate.core.events import Event, Kind, Notify
from circle_migrate.core.shield import shielded
from circle_migrate.migrate.protection import carry
from circle_migrate.postgres.database import APPLICATION_NAME
from circle_migrate.postgres.server_errors import server_message

if TYPE_CHECKING:
    from circle_migrate.backup.preflight import RestoreTarget
    from circle_migrate.postgres.database import Database, State
    from circle_migrate.postgres.protection_marker import ProtectionMarker

NAME = f"{APPLICATION_NAME} restore"


def announce(targets: Sequence[RestoreTarget], notify: Notify) -> None:
    """Tell what is to come on each database."""
    for target in targets:
        notify(Event(Kind.PLANNED, target.name, "", total=len(targets), steps=("restore",)))


async def restore_in_place(targets: Sequence[RestoreTarget], notify: Notify) -> None:
    """Fill the empty databases, one after the other. What it raises says what each of them holds then."""
    filled: list[str] = []
    for target in targets:
        place = (len(filled) + 1, len(targets))
        try:
            await _fill(target, target.database, place, notify)
        except asyncio.CancelledError:
            _uncancel()
            raise Interrupted("interrupted", state=_standing(targets, filled, target)) from None
        except MigrateError as error:
            error.state = _standing(targets, filled, target)
            error.hint = error.hint or "correct the cause; then, for what is still empty, the same command"
            raise
        filled.append(target.name)


async def restore_to_staging(targets: Sequence[RestoreTarget], notify: Notify) -> list[beside.StagedDatabase]:
    """Fill a new database beside each target's. Where one fails all are dropped again."""
    token = secrets.token_hex(4)
    copies: list[beside.StagedDatabase] = []
    try:
        for number, target in enumerate(targets, start=1):
            copies.append(await beside.create(target.database, token))
            await _fill(target, copies[-1].connection_target, (number, len(targets)), notify)
    except BaseException as error:
        await drop_staging(copies, error)
        raise
    return copies


async def copy_protection(copies: Sequence[beside.StagedDatabase], states: Mapping[str, State]) -> None:
    """Protect the copies as the live databases are; else a dump from before that would lift it."""
    try:
        for copy in copies:
            state = states[copy.database.name]
            if state.marker is not None and (await copy.connection_target.state()).marker is None:
                await _carry(copy, state.schema, state.marker)
    except BaseException as error:
        await drop_staging(copies, error)
        raise


async def _carry(copy: beside.StagedDatabase, schema: str, marker: ProtectionMarker) -> None:
    name = copy.database.name
    connection = await copy.connection_target.connect(NAME)
    try:
        await carry(connection, schema, marker)
    except Exception as error:
        raise RestoreFailed(
            f"{name}: its protection cannot be taken over", database=name, detail=server_message(error)
        ) from error
    finally:
        connection.terminate()


async def swap_in(copies: Sequence[beside.StagedDatabase], *, disconnect: bool) -> None:
    """Let the copies replace the live databases, all or, where it cannot be, none; not to be interrupted."""
    swap = asyncio.ensure_future(beside.swap(copies, disconnect=disconnect))
    try:
        await shielded(swap)
    except asyncio.CancelledError:
        if swap.exception() is None:
            _uncancel()
            raise Interrupted("interrupted", state="every database had just been replaced") from None
        await drop_staging(copies, swap.exception())
        raise
    except MigrateError as error:
        if error.state is None or error.state == beside.UNTOUCHED:
            await drop_staging(copies, error)
        raise


async def drop_staging(copies: Sequence[beside.StagedDatabase], error: BaseException | None) -> None:
    """Drop the copies; the error says what remains."""
    left = await shielded(beside.drop(copies))
    if isinstance(error, MigrateError):
        remains = f"; left over, to be dropped: {', '.join(left)}" if left else ""
        error.state = beside.UNTOUCHED + remains


async def _fill(target: RestoreTarget, database: Database, place: tuple[int, int], notify: Notify) -> None:
    """Restore a target's dump into an empty database, and see that all of it arrived."""
    began = time.monotonic()
    notify(Event(Kind.STARTED, target.name, "restore", *place))
    connection = await database.connect(NAME)
    try:

        async def measured() -> int:
            return await size(connection)

        def tell(found: int) -> None:
            text = f"{format_bytes(found)} of about {format_bytes(target.dump.database_bytes)}"
            notify(Event(Kind.COPYING, target.name, text))

        with environment(database.address, NAME, encrypted=await encrypted(connection)) as env:
            async with report_growth(measured, tell):
                await target.plan.restore(target.name, target.file, env)
    finally:
        connection.terminate()
    await _require_same(target, database)
    notify(Event(Kind.DONE, target.name, "restore", *place, time.monotonic() - began))
    notify(Event(Kind.COMMITTED, target.name, "restore", *place))


async def _require_same(target: RestoreTarget, database: Database) -> None:
    """Raise `RestoreFailed` where the restored database is not what the manifest says was dumped."""
    from circle_migrate.postgres.catalog.read_live import read_live_catalog

    state = await database.state()
    catalog_digest = catalogue(await read_live_catalog(database))
    differs = target.dump.differs_from(
        catalog_digest.objects, catalog_digest.digest, state.server_version_num // 10000
    )
    if set(state.current) != set(target.dump.revisions):
        differs = f"it is at {', '.join(state.current) or 'base'}"
    if differs:
        raise RestoreFailed(
            f"{target.name}: what was restored is not what was dumped",
            database=target.name,
            detail=differs,
        )


def _standing(targets: Sequence[RestoreTarget], filled: Sequence[str], at: RestoreTarget) -> str:
    """What each database holds after filling one of them has failed."""
    parts = [f"{name} is restored" for name in filled]
    if at.plan.jobs > 1:
        parts.append(f"{at.name} is half restored: drop it and create it anew, empty")
    else:
        parts.append(f"{at.name} is empty, as before")
    untouched = [target.name for target in targets if target.name not in (*filled, at.name)]
    parts += [f"{name} was not touched" for name in untouched]
    if filled:
        rest = [at.name, *untouched]
        parts.append(f"the same command with -d {rest[0]} goes on")
    return "; ".join(parts)


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
