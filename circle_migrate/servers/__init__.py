"""PostgreSQL servers of our own: the embedded one of `--embedded`, and programs of other installations."""

from circle_migrate.servers.binaries import Binaries, find
from circle_migrate.servers.embedded import EmbeddedServer, ServerStatus

__all__ = ["Binaries", "EmbeddedServer", "ServerStatus", "find"]
