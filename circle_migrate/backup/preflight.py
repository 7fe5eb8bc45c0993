"""Whether a backup can be restored here: its files, the programs, the databases. Nothing is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.backup import manifest_file
from circle_migrate.backup.dump import list_contents, list_encrypted
from circle_migrate.backup.encryption import decrypting
from circle_migrate.backup.manifest import Dump, Manifest
from circle_migrate.backup.restore_dump import RestoreJob
from circle_migrate.core.errors import MissingDatabase, Refused, UnknownRevision, WrongDatabase
from circle_migrate.migrate.guards import ensure_not_in_doubt, ensure_writable
from circle_migrate.migrate.identity import ensure_distinct, ensure_not_swapped

if TYPE_CHECKING:
    from circle_migrate.postgres.database import Database, State
    from circle_migrate.postgres.deployment import Deployment


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What was asked for: `replace` databases that hold something, and `disconnect` who uses those.

    `jobs` is how many tables and indexes at a time, 1 for all in one transaction. `identity` is the file
    with the key for encrypted dumps, `programs` the folder of pg_restore. Without `owners` everything will
    belong to the role that restores, without `privileges` nothing is granted. `overridden` are protected
    databases that may be replaced.
    """

    replace: bool = False
    disconnect: bool = False
    jobs: int = 1
    identity: Path | None = None
    programs: Path | None = None
    owners: bool = True
    privileges: bool = True
    overridden: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """As options of pg_restore."""
        options = ((self.owners, "--no-owner"), (self.privileges, "--no-privileges"))
        return tuple(option for kept, option in options if not kept)


@dataclass(frozen=True, slots=True)
class RestoreTarget:
    """A database, the dump that goes into it, and how."""

    database: Database
    state: State
    dump: Dump
    file: Path
    plan: RestoreJob

    @property
    def name(self) -> str:
        """The database's name among ours."""
        return self.database.name


async def preflight(
    deployment: Deployment, made: Manifest, folder: Path, wanted: RestoreOptions
) -> tuple[RestoreTarget, ...]:
    """What goes where, in the order of the deployment, after everything has been looked at.

    Raises `BrokenBackup`, `WrongDatabase`, `UnknownRevision`, `Refused`, `SettingsError`, `UsageError`, and
    the errors of connecting.
    """
    dumps = _chosen(deployment, made)
    _ensure_known_revisions(deployment, dumps)
    decryption = {
        name: tuple(decrypting(wanted.identity)) if dump.encrypted else () for name, dump in dumps.items()
    }
    for dump in dumps.values():
        await asyncio.to_thread(manifest_file.verify, folder, dump)
    states = await _states(deployment)
    ensure_distinct(states)
    ensure_not_swapped(deployment, states)
    ensure_not_in_doubt(states)
    for name, state in states.items():
        ensure_writable(state)
        _ensure_same_dump(state, dumps, name)
    targets = tuple(
        RestoreTarget(
            database=deployment.databases[name],
            state=states[name],
            dump=dump,
            file=folder / dump.file,
            plan=RestoreJob.plan(
                dump.dump_major,
                states[name].server_version_num // 10000,
                wanted.programs,
                decryption=decryption[name],
                jobs=wanted.jobs,
                left_out=wanted.left_out,
            ),
        )
        for name, dump in dumps.items()
    )
    for target in targets:
        restorer = target.plan.restorer
        if target.plan.decryption:
            await list_encrypted(restorer, target.plan.decryption, target.file, target.name)
        else:
            await list_contents(restorer, target.file, target.name)
    return targets


def _chosen(deployment: Deployment, made: Manifest) -> dict[str, Dump]:
    dumps = {dump.database: dump for dump in made.dumps}
    foreign = sorted(dumps.keys() - deployment.databases.keys())
    if foreign:
        raise Refused(
            f"the backup is of another deployment: it has {', '.join(dumps)}",
            state="nothing was touched",
            hint=f"databases here: {', '.join(deployment.databases)}",
        )
    missing = [name for name in deployment.selected if name not in dumps]
    if missing:
        raise Refused(
            f"the backup has no dump of {', '.join(missing)}",
            state="nothing was touched",
            hint=f"restore what it has: -d {next(iter(dumps), 'NAME')}",
        )
    return {name: dumps[name] for name in deployment.selected}


def _ensure_known_revisions(deployment: Deployment, dumps: Mapping[str, Dump]) -> None:
    for name, dump in dumps.items():
        for key in dump.revisions:
            if key in deployment.forest.graphs[name]:
                continue
            for other, graph in deployment.forest.graphs.items():
                if key in graph:
                    raise WrongDatabase(
                        f"the dump of {name} is at {key}, a revision of {other}",
                        database=name,
                        state="nothing was touched",
                    )
            raise UnknownRevision(
                f"the dump of {name} is at {key}, which is in none of the trees: a newer release, or another "
                "application, made this backup",
                database=name,
                state="nothing was touched",
                hint="restore it with the release that has this revision",
            )


async def _states(deployment: Deployment) -> dict[str, State]:
    try:
        return await deployment.states()
    except MissingDatabase as error:
        # What it hints at otherwise would make a database that is not empty.
        error.hint = "create it first, empty: CREATE DATABASE …"
        raise


def _ensure_same_dump(state: State, dumps: Mapping[str, Dump], name: str) -> None:
    """Refuse a server that is older than the dump's, and URLs that are swapped as far as names tell."""
    dump = dumps[name]
    if state.server_version_num // 10000 < dump.major:
        raise Refused(
            f"{name}: the dump is from PostgreSQL {dump.server_version}, and the server is "
            f"{state.server_version}",
            database=name,
            state="nothing was touched",
            hint="a dump can be restored on its own or a newer major version",
        )
    for other, each in dumps.items():
        if other != name and state.name == each.dbname != dump.dbname:
            raise WrongDatabase(
                f"{name} leads to {state.name!r}, which is what {other} was called when it was dumped",
                database=name,
                state="nothing was touched",
                hint="the URLs seem to be swapped: `circle-migrate config show`",
            )
