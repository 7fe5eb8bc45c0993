"""Helpers for the tests of the embedded server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from circle_migrate.postgres.embedded.server import EmbeddedServer
from tests.servers import in_memory, run

ROOT = Path(__file__).parent.parent


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder every user can enter, unlike pytest's own; servers in it are gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="cm-embedded-", dir=in_memory()))
    path.chmod(0o755)
    try:
        yield path
    finally:
        for marker in list(path.rglob("circle-migrate-server.txt")):
            EmbeddedServer(marker.parent).reset()
        shutil.rmtree(path)


def ask(url: str, query: str) -> str:
    """The one value a query returns, as text."""

    async def fetch() -> str:
        connection = await asyncpg.connect(url)
        try:
            return str(await connection.fetchval(query))
        finally:
            await connection.close()

    return run(fetch())


def entries(path: Path) -> list[str]:
    """The names in a folder."""
    return sorted(entry.name for entry in path.iterdir())
