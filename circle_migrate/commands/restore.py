"""Restore: the dumps of a backup into empty databases, or in the place of those that are there.

Everything that can be known beforehand is looked at before anything is touched: the manifest, the files,
the programs, the databases. Empty databases are filled in place, each in one transaction where the work is
not shared by several jobs. With `replace` the dumps go into new databases beside the live ones, which take
their names when all are complete and verified; the old ones are kept under other names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.backup import manifest_file, swap
from circle_migrate.backup.contents import user_objects
from circle_migrate.backup.fill import (
    NAME,
    announce,
    copy_protection,
    restore_in_place,
    restore_to_staging,
    swap_in,
)
from circle_migrate.backup.manifest import Manifest, RestoreResult
from circle_migrate.backup.preflight import RestoreOptions, RestoreTarget, preflight
from circle_migrate.core.errors import Refused
from circle_migrate.core.events import Notify, discard
from circle_migrate.migrate.protection import ProtectionGuard
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployer_lock import deployer_lock

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment

Confirm = Callable[[Manifest, Mapping[str, str]], None]
"""Is told which databases hold something and are to be replaced: by name, what each is on its server.

Returns where that is wanted, and raises `NotConfirmed` where it is not.
"""

_SHOWN = 5


async def restore(
    deployment: Deployment, path: Path, wanted: RestoreOptions, confirm: Confirm, notify: Notify = discard
) -> RestoreResult:
    """Restore the selected databases from the backup whose manifest, or folder, is at `path`.

    Raises `BrokenBackup`, `WrongDatabase`, `UnknownRevision`, `Refused`, `NotConfirmed` and `SettingsError`
    before anything was touched; `RestoreFailed` and `Interrupted` with what the databases hold then.
    """
    guard = ProtectionGuard(deployment, wanted.overridden)
    made, folder = manifest_file.read(path)
    targets = await preflight(deployment, made, folder, wanted)
    guard.check_override_names({target.name: target.state for target in targets})
    wait = deployment.settings.lock_wait
    replaced: dict[str, str] = {}
    if wanted.replace:
        holding = await _holding(targets)
        guard.ensure_unprotected({target.name: target.state for target in targets}, holding)
        await _agree(targets, made, holding, confirm, disconnect=wanted.disconnect)
        async with _locked(targets, wait, notify):
            states = {target.name: await target.database.state() for target in targets}
            guard.ensure_unprotected(states, holding)
            announce(targets, notify)
            copies = await restore_to_staging(targets, notify)
            await copy_protection(copies, states)
        # Without our own sessions, which would be in the way.
        await swap_in(copies, disconnect=wanted.disconnect)
        replaced = {copy.database.name: copy.kept for copy in copies}
    else:
        await _refuse_full(targets, path)
        async with _locked(targets, wait, notify):
            await _refuse_full(targets, path)
            announce(targets, notify)
            await restore_in_place(targets, notify)
    current = {target.name: target.dump.revisions for target in targets}
    notes = (
        *_notes(targets, wanted),
        *(_kept(name, old) for name, old in replaced.items()),
        *await _protected(deployment, guard, tuple(current)),
    )
    return RestoreResult("restore", made, tuple(current), current, replaced, notes)


async def _holding(targets: Sequence[RestoreTarget]) -> dict[str, str]:
    """What those databases are called on their servers that hold something."""
    return {target.name: target.state.name for target in targets if await _contents(target)}


async def _agree(
    targets: Sequence[RestoreTarget],
    made: Manifest,
    holding: Mapping[str, str],
    confirm: Confirm,
    *,
    disconnect: bool,
) -> None:
    for target in targets:
        if not disconnect and (who := await swap.sessions(target.database)):
            raise swap.database_in_use_error(target.name, who)
    if holding:
        confirm(made, holding)


async def _refuse_full(targets: Sequence[RestoreTarget], path: Path) -> None:
    for target in targets:
        found = await _contents(target)
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise Refused(
                f"{target.name}: the database is not empty",
                database=target.name,
                detail=", ".join(found[:_SHOWN]) + more,
                state="nothing was changed",
                hint=f"to replace what is there: circle-migrate restore {path} --replace; "
                "where it was restored already, restore the other one alone: -d NAME",
            )


async def _contents(target: RestoreTarget) -> tuple[str, ...]:
    connection = await target.database.connect(NAME)
    try:
        return await user_objects(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def _locked(targets: Sequence[RestoreTarget], wait: float, notify: Notify) -> AsyncIterator[None]:
    """Hold the deployer locks of all targets; `wait` in seconds. Raises `LockNotObtained`."""
    async with AsyncExitStack() as stack:
        for target in targets:
            connection = await target.database.connect(NAME)
            stack.callback(connection.terminate)
            if connection.get_server_version().major >= 14:
                await connection.execute("SET idle_session_timeout = 0")
            await stack.enter_async_context(deployer_lock(connection, target.name, wait, notify))
        yield


async def _protected(
    deployment: Deployment, guard: ProtectionGuard, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Which of the restored databases are protected now: a marker comes with its dump."""
    states = await deployment.states_or_errors(names)
    found = guard.protections({name: state for name, state in states.items() if isinstance(state, State)})
    return tuple(f"{name} is protected {protection.description}" for name, protection in found.items())


def _notes(targets: Sequence[RestoreTarget], wanted: RestoreOptions) -> list[str]:
    return [
        f"{target.name}: restored by one job: "
        + ("an encrypted dump is read only once" if target.plan.decryption else "its server is older")
        for target in targets
        if target.plan.jobs < wanted.jobs
    ]


def _kept(name: str, old: str) -> str:
    return (
        f"{name}: what was there before is kept in the database {old!r}, with all its data; "
        f'when nobody needs it any more: DROP DATABASE "{old}";'
    )
