"""The only package that imports Alembic: it runs one step, stamps, renders SQL and compares models.

There is no ini file, no env.py and no Config with a URL in it. `alembic.op` and `alembic.context` are
process-global; two databases migrated at once through them corrupt each other. So each revision module is
given an `Operations` of its own, and the global names, which helper modules may use, are bound only while
one step runs; `one_at_a_time` is the turn that every caller waits for.
"""

from circle_migrate.migrate.alembic_adapter.context import OutsideTransaction, VersionTable, one_at_a_time
from circle_migrate.migrate.alembic_adapter.runner import Runner
from circle_migrate.revision_graph.modules import failing_line, load_module, module_of

__all__ = [
    "OutsideTransaction",
    "Runner",
    "VersionTable",
    "failing_line",
    "load_module",
    "module_of",
    "one_at_a_time",
]
