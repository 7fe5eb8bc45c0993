"""Check that a backup can be restored: its files, the programs, the databases. Changes nothing."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from circle_migrate.backup.dump import RestoreJob, RestoreOptions, decrypt_command, ensure_readable
from circle_migrate.backup.manifest import Dump, Manifest, verify_dump
from circle_migrate.core.errors import MissingDatabase, Refused, UnknownRevision, WrongDatabase
from circle_migrate.migrate import guards
from circle_migrate.postgres.database import Database, State
from circle_migrate.postgres.deployment import Deployment


@dataclass(frozen=True, slots=True)
class RestoreTarget:
    """A database, the dump that is restored into it, and the programs for that."""

    database: Database
    state: State
    dump: Dump
    file: Path
    job: RestoreJob

    @property
    def name(self) -> str:
        """The configured name of the database."""
        return self.database.name


async def preflight(
    deployment: Deployment, manifest: Manifest, folder: Path, options: RestoreOptions
) -> tuple[RestoreTarget, ...]:
    """Check everything, and return the targets in the order of the deployment.

    Raises `BrokenBackup`, `WrongDatabase`, `UnknownRevision`, `Refused`, `SettingsError`, `UsageError`, and
    the errors of connecting.
    """
    dumps = _selected_dumps(deployment, manifest)
    _ensure_known_revisions(deployment, dumps)
    decryption = {
        name: decrypt_command(options.identity) if dump.encrypted else [] for name, dump in dumps.items()
    }
    for dump in dumps.values():
        await asyncio.to_thread(verify_dump, folder, dump)
    states = await _states(deployment)
    guards.ensure_distinct(states)
    guards.ensure_not_swapped(deployment, states)
    guards.ensure_not_in_doubt(states)
    for name, state in states.items():
        guards.ensure_writable(state)
        _ensure_dump_fits(state, dumps, name)
    targets = []
    for name, dump in dumps.items():
        state, file = states[name], folder / dump.file
        job = RestoreJob.plan(dump, state.server_version_num // 10000, options, decryption[name])
        await ensure_readable(job.restorer, file, name, job.decryption)
        targets.append(RestoreTarget(deployment.databases[name], state, dump, file, job))
    return tuple(targets)


def _selected_dumps(deployment: Deployment, manifest: Manifest) -> dict[str, Dump]:
    dumps = {dump.database: dump for dump in manifest.dumps}
    foreign = sorted(dumps.keys() - deployment.databases.keys())
    if foreign:
        raise Refused(
            f"the backup is of another deployment, with the databases {', '.join(dumps)}",
            hint=f"databases of this deployment: {', '.join(deployment.databases)}",
        )
    missing = [name for name in deployment.selected if name not in dumps]
    if missing:
        raise Refused(
            f"the backup has no dump of {', '.join(missing)}",
            hint=f"restore one of its databases: -d {next(iter(dumps), 'NAME')}",
        )
    return {name: dumps[name] for name in deployment.selected}


def _ensure_known_revisions(deployment: Deployment, dumps: Mapping[str, Dump]) -> None:
    for name, dump in dumps.items():
        for key in dump.revisions:
            if key in deployment.combined_graph.graphs[name]:
                continue
            for other, graph in deployment.combined_graph.graphs.items():
                if key in graph:
                    raise WrongDatabase(f"the dump of {name} is at revision {key} of {other}", database=name)
            raise UnknownRevision(
                f"the dump of {name} is at revision {key}, which no revision file has: a newer release or "
                "another application made the backup",
                database=name,
                hint="restore the backup with the release that has this revision",
            )


async def _states(deployment: Deployment) -> dict[str, State]:
    try:
        return await deployment.states()
    except MissingDatabase as error:
        # The hint of the error, `init`, would create tables.
        error.hint = "create it first, empty: CREATE DATABASE …"
        raise


def _ensure_dump_fits(state: State, dumps: Mapping[str, Dump], name: str) -> None:
    """Refuse an older server than that of the dump, and a database that has the name of another dump."""
    dump = dumps[name]
    if state.server_version_num // 10000 < dump.major:
        raise Refused(
            f"{name}: the dump is from PostgreSQL {dump.server_version}, "
            f"the server is version {state.server_version}",
            database=name,
            hint="restore it on a server of the same or a newer major version",
        )
    for other, other_dump in dumps.items():
        if other != name and state.name == other_dump.dbname != dump.dbname:
            raise WrongDatabase(
                f"{name} is the database {state.name!r}, from which {other} was dumped",
                database=name,
                hint="check whether the URLs are swapped: circle-migrate config show",
            )
