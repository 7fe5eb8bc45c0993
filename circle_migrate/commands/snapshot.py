"""`snapshot`: write the catalog of each database, of its revisions or of its models to a file."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result, json_fields
from circle_migrate.diff.expected.snapshot_file import write
from circle_migrate.diff.expected.sources import ComparisonSources
from circle_migrate.diff.side import SNAPSHOT_SUFFIXES, ComparisonSide, Source, parse_state
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.pool import ScratchServers


@dataclass(frozen=True, slots=True)
class SnapshotResult(Result):
    """Snapshots by database, and the files that they were written to."""

    snapshots: Mapping[str, Snapshot]
    files: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return each snapshot; only its file and its digest if it was written."""
        return {
            "snapshots": {
                name: {
                    "file": self.files.get(name),
                    **json_fields(snapshot, "digest origin server_version_num revisions"),
                    "snapshot": None if name in self.files else snapshot.to_dict(),
                }
                for name, snapshot in self.snapshots.items()
            }
        }


async def take_snapshots(
    deployment: Deployment, text: str = Source.LIVE, output: str | None = None
) -> SnapshotResult:
    """Take a snapshot of every selected database, and write all or none to `output`. Raises `UsageError`."""
    async with ScratchServers(deployment) as servers:
        sources = ComparisonSources(deployment, servers, (parse_state(text),))
        files = {} if output is None else _files(output, sources.names)
        sides = await asyncio.gather(*(sources.of_database(name) for name in sources.names))
    snapshots = {name: side.snapshots[0] for name, side in zip(sources.names, sides, strict=True)}
    for name, path in files.items():
        write(path, snapshots[name])
    return SnapshotResult("snapshot", snapshots, {name: str(path) for name, path in files.items()})


def _files(output: str, names: tuple[str, ...]) -> dict[str, Path]:
    """Return the file of each database."""
    if output.endswith(SNAPSHOT_SUFFIXES):
        side = ComparisonSide(Source.FILE, output)
        if side.is_single_file and len(names) > 1:
            raise UsageError(
                f"{output} is one file, and there are {len(names)} databases",
                hint="give a folder, a name with {database} in it, or one database with --database",
            )
        return {name: side.file(name) for name in names}
    folder = Path(output).expanduser()
    return {name: folder / f"{name}.json.gz" for name in names}
