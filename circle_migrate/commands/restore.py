"""`restore`: restore the dumps of a backup into empty databases, or replace databases that are not empty.

The manifest, the files, the programs and the databases are checked before anything changes. Empty databases
are restored in place, each in one transaction unless several jobs share the work. With `replace` the dumps go
into new databases beside the live ones, which swap names with them when all are complete and verified; the
old databases are kept under other names.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from circle_migrate.backup import restore_targets, swap
from circle_migrate.backup.contents import user_objects
from circle_migrate.backup.dump import RestoreOptions
from circle_migrate.backup.manifest import Manifest, RestoreResult, read_manifest
from circle_migrate.backup.preflight import RestoreTarget, preflight
from circle_migrate.core.errors import Refused
from circle_migrate.core.events import Notify, ignore_event
from circle_migrate.migrate.guards import ensure_own_tables
from circle_migrate.migrate.protection import ProtectionGuard
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployer_lock import deployer_lock
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.server_errors import lost_connection_errors

Confirm = Callable[[Manifest, Mapping[str, str]], None]
"""Ask whether to replace the databases, given by name with their name on the server.

Raises `NotConfirmed` if the answer is no.
"""

_MAX_NAMES = 5


async def restore(
    deployment: Deployment,
    path: Path,
    options: RestoreOptions,
    confirm: Confirm,
    notify: Notify = ignore_event,
) -> RestoreResult:
    """Restore the selected databases from the backup whose manifest, or folder, is at `path`.

    Raises `BrokenBackup`, `WrongDatabase`, `UnknownRevision`, `Refused`, `NotConfirmed` and `SettingsError`
    before anything changes; `RestoreFailed` and `Interrupted` with the state of the databases.
    """
    guard = ProtectionGuard(deployment, options.overridden)
    manifest, folder = read_manifest(path)
    targets = await preflight(deployment, manifest, folder, options)
    states = {target.name: target.state for target in targets}
    guard.check_override_names(states)
    wait = deployment.settings.lock_wait
    replaced: dict[str, str] = {}
    if options.replace:
        nonempty = {target.name: target.state.name for target in targets if await _contents(target)}
        guard.ensure_unprotected(states, nonempty)
        for target in () if options.disconnect else targets:
            if sessions := await swap.sessions(target.database):
                raise swap.database_in_use_error(target.name, "; ".join(sessions))
        if nonempty:
            confirm(manifest, nonempty)
        async with _locks(targets, wait, notify):
            states = {target.name: await target.database.state() for target in targets}
            guard.ensure_unprotected(states, nonempty)
            restore_targets.announce(targets, notify)
            copies = await restore_targets.restore_to_staging(targets, notify)
            await restore_targets.copy_protection(copies, states)
        # The locks are released first: our own sessions would block the renaming.
        await restore_targets.swap_in(copies, disconnect=options.disconnect)
        replaced = {copy.database.name: copy.kept_name for copy in copies}
    else:
        is_whole = len(targets) == len(manifest.dumps)
        selection = "".join([str(path), *(f" -d {target.name}" for target in targets if not is_whole)])
        await _ensure_empty(targets, selection)
        async with _locks(targets, wait, notify):
            await _ensure_empty(targets, selection)
            restore_targets.announce(targets, notify)
            await restore_targets.restore_in_place(targets, notify)
    current = {target.name: target.dump.revisions for target in targets}
    notes = (
        *(
            f"{target.name}: restored by one job, because "
            + ("the dump is encrypted" if target.job.decryption else "its server is older than pg_restore")
            for target in targets
            if target.job.jobs < options.jobs
        ),
        *(
            f"{name}: the previous database is kept as {kept!r} with all its data; "
            f'to remove it: DROP DATABASE "{kept}";'
            for name, kept in replaced.items()
        ),
        *await _protection_notes(deployment, guard, tuple(current)),
    )
    return RestoreResult("restore", manifest, tuple(current), current, replaced, notes)


async def _ensure_empty(targets: Sequence[RestoreTarget], selection: str) -> None:
    for target in targets:
        if names := await _contents(target):
            more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
            raise Refused(
                f"{target.name}: the database is not empty",
                database=target.name,
                detail=", ".join(names[:_MAX_NAMES]) + more,
                hint=f"to replace it: circle-migrate restore {selection} --replace; "
                "to restore only an empty database: -d NAME",
            )


async def _contents(target: RestoreTarget) -> tuple[str, ...]:
    connection = await target.database.connect(restore_targets.NAME)
    try:
        return await user_objects(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def _locks(targets: Sequence[RestoreTarget], wait: float, notify: Notify) -> AsyncIterator[None]:
    """Hold all deployer locks; `wait` in seconds. Raises `LockNotObtained`, `Refused` for others' tables."""
    async with AsyncExitStack() as stack:
        for target in targets:
            connection = await target.database.connect(restore_targets.NAME)
            stack.callback(connection.terminate)
            stack.enter_context(lost_connection_errors(target.name, connection))
            if connection.get_server_version().major >= 14:
                await connection.execute("SET idle_session_timeout = 0")
            await stack.enter_async_context(deployer_lock(connection, target.name, wait, notify))
            ensure_own_tables({target.name: await target.database.read_state(connection)})
        yield


async def _protection_notes(
    deployment: Deployment, guard: ProtectionGuard, names: tuple[str, ...]
) -> list[str]:
    """Name the restored databases that are protected: the dump contains the marker."""
    states = await deployment.states_or_errors(names)
    protections = guard.protections({name: s for name, s in states.items() if isinstance(s, State)})
    return [f"{name} is protected {protection.description}" for name, protection in protections.items()]
