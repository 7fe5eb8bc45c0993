"""What PostgreSQL does when a plan runs, read beside the statements on the connection that sends them.

PostgreSQL says itself what text cannot tell: at DEBUG1 it names every table it rewrites, reads or indexes,
and `pg_locks` has what a transaction holds. None of it depends on rows, so that empty tables are enough.
"""

from circle_migrate.tracing.backend import Backend
from circle_migrate.tracing.hooks import TracingHooks
from circle_migrate.tracing.recorder import Recorder

__all__ = ["Backend", "Recorder", "TracingHooks"]
