"""The sides of a comparison as snapshots, whatever was typed for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from circle_migrate.core.errors import MissingPrivilege, UsageError
from circle_migrate.diff.expected.expected import expected
from circle_migrate.diff.expected.shipped import shipped_majors
from circle_migrate.diff.expected.snapshot_file import read
from circle_migrate.diff.side import CURRENT, Side, Source
from circle_migrate.migrate.identity import verify_identity
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.postgres.scratch.providers import no_server
from circle_migrate.revision_graph import target as targets
from circle_migrate.revision_graph.target import Target


@dataclass(frozen=True, slots=True)
class ComparisonSides:
    """The sides of one database, in the order typed; `notes` say in what they are not what was asked for.

    `pending` counts the revisions above those the database is at, where that was asked for.
    """

    snapshots: tuple[Snapshot, ...]
    notes: tuple[str, ...] = ()
    pending: int = 0


@dataclass(frozen=True, slots=True)
class ComparisonSources:
    """Where the sides of every database come from. `names` are the databases that have all of them."""

    deployment: Deployment
    servers: ScratchServers
    sides: tuple[Side, ...]
    names: tuple[str, ...] = ()
    _targets: dict[Side, dict[str, Target]] = field(default_factory=dict)
    _files: dict[Side, Snapshot] = field(default_factory=dict)

    @classmethod
    def of(
        cls, deployment: Deployment, servers: ScratchServers, sides: tuple[Side, ...]
    ) -> ComparisonSources:
        """The sources of these sides. Raises `UsageError` where no selected database has all."""
        assigned: dict[Side, dict[str, Target]] = {}
        files: dict[Side, Snapshot] = {}
        names = deployment.selected
        for side in sides:
            if side.target not in (None, CURRENT):
                assigned[side] = targets.assign([side.target or ""], deployment.graphs)
                names = tuple(name for name in names if name in assigned[side])
            elif side.source is Source.FILE and side.holds_one:
                files[side] = read(side.file(""))
                names = tuple(name for name in names if name == files[side].database)
            elif side.source is Source.LIVE:
                for name in names:
                    _ = deployment.databases[name].address  # a missing URL is said before any server is asked
        if not names:
            raise UsageError(
                f"no selected database has {' and '.join(side.text for side in sides)}",
                hint="name sides of one database, or leave out --database",
            )
        return cls(deployment, servers, sides, names, assigned, files)

    async def of_database(self, name: str) -> ComparisonSides:
        """The sides of one database. Raises why one of them cannot be had."""
        live = await self._live(name)
        current = await self._current(name, live)
        found: dict[Side, Snapshot] = {} if live is None else {self._side(Source.LIVE): live}
        for side in self.sides:
            if side.source is Source.FILE:
                found[side] = self._file(side, name)
        major = next((snapshot.major for snapshot in found.values()), None) or await self._major(
            name, current
        )
        notes = []
        for side in self.sides:
            if side not in found:
                revisions = None if side.source is Source.MODELS else self._heads(side, name, current)
                answer = await expected(self.deployment, name, revisions, major, servers=self.servers)
                found[side] = answer.snapshot
                notes += [answer.note] if answer.note else []
        snapshots = tuple(found[side] for side in self.sides)
        return ComparisonSides(snapshots, tuple(notes), self._pending(name, current))

    def _side(self, source: Source) -> Side:
        return next(side for side in self.sides if side.source is source)

    async def _live(self, name: str) -> Snapshot | None:
        wanted = any(side.source is Source.LIVE for side in self.sides)
        return await read_live_catalog(self.deployment.databases[name]) if wanted else None

    async def _current(self, name: str, live: Snapshot | None) -> tuple[str, ...]:
        """The current revisions, where a side depends on them. Raises what `verify_identity` raises."""
        if not any(side.is_relative for side in self.sides):
            return ()
        database = self.deployment.databases[name]
        current = (await database.state()).current if live is None else live.revisions
        if current is None:
            table = database.settings.version_table
            raise MissingPrivilege(
                f"{name}: the role may not read at which revision the database is",
                database=name,
                hint=f'GRANT SELECT ON {table} TO "{database.address.user}", and USAGE on its schema; '
                "or name the side: circle-migrate diff revisions@REVISION live",
            )
        if any(key not in self.deployment.graphs[name] for key in current):
            return verify_identity(self.deployment, {name: await database.state()})[name]
        return current

    def _heads(self, side: Side, name: str, current: tuple[str, ...]) -> tuple[str, ...]:
        """The current revisions of a database that is where the side says."""
        graph = self.deployment.graphs[name]
        if side.target == CURRENT:
            return current
        if side.target is None:
            return graph.effective_heads
        return graph.version_rows(targets.stamp_set(graph, current, self._targets[side][name]))

    def _file(self, side: Side, name: str) -> Snapshot:
        path = side.file(name)
        snapshot = self._files.get(side) or read(path)
        if snapshot.database != name:
            raise UsageError(
                f"{path} is a snapshot of {snapshot.database}, not of {name}",
                database=name,
                hint=f"name the one of {name}, or select the other: --database {snapshot.database}",
            )
        return replace(snapshot, origin=str(path))

    async def _major(self, name: str, current: tuple[str, ...]) -> int:
        """The major version to compare in where no side has one: one that is shipped, or can be made."""
        majors = []
        for side in self.sides:
            if side.source is Source.REVISIONS:
                heads = self._heads(side, name, current)
                majors.append(shipped_majors(self.deployment.databases[name], heads))
        if len(majors) == len(self.sides):
            common = [major for major in majors[0] if all(major in each for each in majors)]
            if common:
                return common[0]
        possible = await self.servers.majors(name)
        if not possible:
            raise no_server(f"{name}: {' and '.join(side.text for side in self.sides)} cannot be compared: ")
        return possible[0]

    def _pending(self, name: str, current: tuple[str, ...]) -> int:
        if not any(side.target == CURRENT for side in self.sides):
            return 0
        graph = self.deployment.graphs[name]
        return len(graph.ancestors(graph.effective_heads) - graph.ancestors(current))
