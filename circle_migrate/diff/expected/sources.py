"""Resolve the sides of a comparison to snapshots."""

from contextlib import suppress
from dataclasses import dataclass, replace

from circle_migrate.core.errors import MigrateError, MissingPrivilege, UsageError
from circle_migrate.diff.expected.expected import expected
from circle_migrate.diff.expected.snapshot_file import read, shipped_majors
from circle_migrate.diff.side import CURRENT, ComparisonSide, Source
from circle_migrate.migrate.guards import verify_identity
from circle_migrate.postgres.catalog.read_live import read_catalog_over
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.live_settings import NO_SETTINGS, settings_over
from circle_migrate.postgres.scratch.pool import ScratchServers, no_server_error
from circle_migrate.revision_graph import target as targets
from circle_migrate.revision_graph.target import Target


@dataclass(frozen=True, slots=True)
class ComparisonSides:
    """The sides of one database; `notes` describe how they differ from what was requested.

    `pending` is the number of pending revisions if a side is the current revision.
    """

    snapshots: tuple[Snapshot, ...]
    notes: tuple[str, ...] = ()
    pending: int = 0


class ComparisonSources:
    """The sources of the sides of all databases; `names` are the databases that have all sides.

    With `on_server`, sides without a version get the one of a scratch server, if there is one. Raises
    `UsageError` if no selected database has all sides.
    """

    def __init__(
        self,
        deployment: Deployment,
        servers: ScratchServers,
        sides: tuple[ComparisonSide, ...],
        *,
        on_server: bool = False,
    ) -> None:
        self.deployment, self.servers, self.sides, self.on_server = deployment, servers, sides, on_server
        self.names = deployment.selected
        self._text = " and ".join(side.text for side in sides)
        self._targets: dict[ComparisonSide, dict[str, Target]] = {}
        self._files: dict[ComparisonSide, Snapshot] = {}
        for side in sides:
            if side.target not in (None, CURRENT):
                self._targets[side] = targets.assign([side.target or ""], deployment.graphs)
                self.names = tuple(name for name in self.names if name in self._targets[side])
            elif side.source is Source.FILE and side.is_single_file:
                self._files[side] = read(side.file("")).snapshot
                self.names = tuple(name for name in self.names if name == self._files[side].database)
            elif side.source is Source.LIVE:
                for name in self.names:
                    _ = deployment.databases[name].address  # raises for a missing URL, before any query
        if not self.names:
            raise UsageError(
                f"no selected database has {self._text}",
                hint="name sides of the same database, or leave out --database",
            )

    async def of_database(self, name: str) -> ComparisonSides:
        """Return the sides of one database. Raises the reason if one of them is not available."""
        live, settings = None, NO_SETTINGS
        if any(side.source is Source.LIVE for side in self.sides):
            database = self.deployment.databases[name]
            async with database.reading() as connection:
                settings = {name: await settings_over(connection)}
                live = await read_catalog_over(connection, database)
        current = await self._current(name, live)
        snapshots: dict[ComparisonSide, Snapshot] = {}
        for side in self.sides:
            if side.source is Source.FILE:
                snapshots[side] = self._file(side, name)
            elif live is not None and side.source is Source.LIVE:
                snapshots[side] = live
        majors = [snapshot.major for snapshot in (live, *snapshots.values()) if snapshot is not None]
        major = majors[0] if majors else await self._major(name, current)
        notes = []
        for side in self.sides:
            if side not in snapshots:
                revisions = None if side.source is Source.MODELS else self._heads(side, name, current)
                answer = await expected(
                    self.deployment, name, revisions, major, servers=self.servers, settings=settings
                )
                snapshots[side] = answer.snapshot
                notes += [answer.note] if answer.note else []
        ordered = tuple(snapshots[side] for side in self.sides)
        from_current = any(side.target == CURRENT for side in self.sides)
        pending = len(self.deployment.graphs[name].pending(current)) if from_current else 0
        return ComparisonSides(ordered, tuple(notes), pending)

    async def _current(self, name: str, live: Snapshot | None) -> tuple[str, ...]:
        """Return the current revisions if a side depends on them. Raises what `verify_identity` raises."""
        if not any(side.is_relative for side in self.sides):
            return ()
        database = self.deployment.databases[name]
        current = (await database.state()).current if live is None else live.revisions
        if current is None:
            table = database.settings.version_table
            raise MissingPrivilege(
                f"{name}: the role has no privilege to read the current revision",
                database=name,
                hint=f'GRANT SELECT ON {table} TO "{database.address.user}" and USAGE on its schema, '
                "or name the revision: circle-migrate diff revisions@REVISION live",
            )
        if any(key not in self.deployment.graphs[name] for key in current):
            return verify_identity(self.deployment, {name: await database.state()})[name]
        return current

    def _heads(self, side: ComparisonSide, name: str, current: tuple[str, ...]) -> tuple[str, ...]:
        """Return the current revisions of a database at the side's target."""
        graph = self.deployment.graphs[name]
        if side.target == CURRENT:
            return current
        if side.target is None:
            return graph.effective_heads
        return graph.version_rows(targets.stamp_set(graph, current, self._targets[side][name]))

    def _file(self, side: ComparisonSide, name: str) -> Snapshot:
        path = side.file(name)
        snapshot = self._files.get(side) or read(path).snapshot
        if snapshot.database != name:
            raise UsageError(
                f"{path} is a snapshot of {snapshot.database}, not of {name}",
                database=name,
                hint=f"name a snapshot of {name}, or use --database {snapshot.database}",
            )
        return replace(snapshot, origin=str(path))

    async def _major(self, name: str, current: tuple[str, ...]) -> int:
        """Return the major version for sides without one: shipped for all sides, or of a scratch server."""
        if self.on_server:
            with suppress(MigrateError):  # the trial tells why there is no server
                for major in await self.servers.majors(name):
                    return major
        if all(side.source is Source.REVISIONS for side in self.sides):
            database = self.deployment.databases[name]
            heads = (self._heads(side, name, current) for side in self.sides)
            common = set.intersection(*(set(shipped_majors(database, revisions)) for revisions in heads))
            if common:
                return min(common)
        possible = await self.servers.majors(name)
        if not possible:
            raise no_server_error(f"{name}: {self._text} cannot be compared: ")
        return possible[0]
