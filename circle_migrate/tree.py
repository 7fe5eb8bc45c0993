"""The only module that imports Alembic: it runs one step, stamps, renders SQL and compares models.

There is no ini file, no env.py and no Config with a URL in it. `alembic.op` and `alembic.context` are
process-global; two databases migrated at once through them corrupt each other. So each revision module is
given an `Operations` of its own, and the global names, which helper modules may use, are bound only while
one step runs, under `STEP`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import alembic.context
import alembic.op
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import Script
from alembic.script.revision import Revision as AlembicRevision
from alembic.script.revision import RevisionMap
from alembic.util.pyfiles import load_python_file

from circle_migrate.core.plan import Action, Direction, Segment, Stamp, Step
from circle_migrate.core.revisions import Graph, Revision
from circle_migrate.errors import Refused, TreeError

if TYPE_CHECKING:
    from alembic.operations.ops import MigrationScript
    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection

STEP = threading.Lock()
"""Held by whoever runs a step in this process: Alembic's global names belong to one database at a time."""

# The driver's dialect: plain "postgresql" doubles every % in offline SQL (sqlalchemy/alembic#562).
_DIALECT = "postgresql+asyncpg"


@dataclass(frozen=True, slots=True)
class VersionTable:
    """Where a database keeps its current revisions."""

    name: str = "alembic_version"
    schema: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The keywords Alembic takes for it."""
        return {"version_table": self.name, "version_table_schema": self.schema}


class OutsideTransaction(Refused):
    """A step left its transaction without having declared `transactional = False`."""

    code = "not-transactional"


class _Context(MigrationContext):
    """A context that refuses to commit behind the back of whoever owns the transaction."""

    owned_by_us = False
    revision: Revision | None = None

    @contextmanager
    def autocommit_block(self) -> Iterator[None]:
        if self.owned_by_us and self.revision is not None:
            raise OutsideTransaction(
                f"revision {self.revision.id} uses autocommit_block and does not say so",
                database=self.revision.database,
                location=self.revision.location,
                hint="write `transactional = False` below its `revision`; it then has a segment of its own",
            )
        with super().autocommit_block():
            if self.as_sql or self.connection is None:
                yield
                return
            # A build that waits for older transactions holds up nobody; ending it leaves an INVALID index.
            before = self.connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
            self.connection.exec_driver_sql("SET lock_timeout = 0")
            try:
                yield
            finally:
                self.connection.exec_driver_sql(f"SET lock_timeout = '{before}'")


def load_module(path: Path | str) -> ModuleType:
    """A revision file as a module of its own. Raises `TreeError` with file and line where it cannot be."""
    path = Path(path)
    try:
        return load_python_file(path.parent, path.name)
    except Exception as error:
        raise TreeError(
            f"{path.name} cannot be loaded",
            location=f"{path}:{_line_in(path, error)}",
            detail=f"{type(error).__name__}: {error}",
            hint="correct the file; nothing was run",
        ) from error


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A revision's module, and which of its names are Alembic's: `op` itself (None) or a function of it."""

    module: ModuleType
    operations: Mapping[str, str | None]


@cache
def _load(path: str, checksum: str) -> _Loaded:  # noqa: ARG001 - an edited file is another file
    module = load_module(path)
    names: dict[str, str | None] = {}
    for name, value in vars(module).items():
        if value is alembic.op:
            names[name] = None
        elif (function := getattr(value, "__name__", None)) and value is getattr(alembic.op, function, None):
            names[name] = function
    return _Loaded(module, names)


def module_of(revision: Revision) -> ModuleType:
    """The revision's module, loaded once for as long as its file stays the same."""
    return _load(revision.path, revision.checksum).module


class Runner:
    """Runs the steps of one database.

    Making one loads the files of all its steps, so that a broken file stops a plan before anything ran
    (`TreeError`).
    """

    def __init__(self, graph: Graph, table: VersionTable, steps: Collection[Step]) -> None:
        self.graph = graph
        self.table = table
        modules = {step.revision.id: _module_with(step) for step in steps}
        self._map = RevisionMap(lambda: _as_alembic(graph, modules))

    def run(self, connection: Connection, action: Action, record: Callable[[Connection], None]) -> None:
        """Run one action and write the version table, in the connection's transaction where it is in one.

        `record` is called in the transaction that writes the version table. The caller commits; only a step
        that cannot run in a transaction begins and ends its own.
        """
        if isinstance(action, Stamp):
            _stamp(connection, action, self.table)
            record(connection)
            return
        recording = {"on_version_apply": (lambda **_: record(connection),)}
        context = _Context(connection.dialect, connection, self._options(action) | recording)
        context.owned_by_us = connection.in_transaction()
        context.revision = action.revision
        with _bound(context, action.revision):
            context.run_migrations()

    def render(self, segment: Segment, start: tuple[str, ...], output: StringIO) -> tuple[str, ...]:
        """Write a segment's steps on this database as SQL and return the revisions current after it.

        Raises `Refused` for a revision that reads the database while it runs: it has no SQL without one.
        """
        for step in segment.actions:
            if not isinstance(step, Step) or step.database != self.graph.database:
                continue
            offline = {
                "as_sql": True,
                "output_buffer": output,
                "starting_rev": start or None,
                "transaction_per_migration": not segment.transactional,
            }
            context = _Context(_dialect(), None, self._options(step) | offline)
            with _bound(context, step.revision):
                _render_step(context, step)
            start = _after(start, step, self.graph)
        return start

    def _options(self, step: Step) -> dict[str, Any]:
        def one_step(_heads: object, _context: object) -> list[RevisionStep]:
            script = cast("Script", self._map.get_revision(step.revision.id))
            return [RevisionStep(self._map, script, step.direction is Direction.UP)]

        return {"fn": one_step, "transaction_per_migration": True, **self.table.options}


def _module_with(step: Step) -> ModuleType:
    """The step's module, which must have the function the step's direction needs."""
    module = module_of(step.revision)
    name = "upgrade" if step.direction is Direction.UP else "downgrade"
    if not callable(getattr(module, name, None)):
        raise TreeError(
            f"revision {step.revision.id} has no {name}()",
            database=step.database,
            location=step.revision.location,
        )
    return module


def _as_alembic(graph: Graph, modules: Mapping[str, ModuleType]) -> Iterator[AlembicRevision]:
    """Alembic's nodes of the whole tree, with the modules of those that run."""
    for revision in graph.revisions.values():
        if revision.id in modules:
            yield Script(modules[revision.id], revision.id, revision.path)
        else:
            yield AlembicRevision(
                revision.id,
                revision.down or None,
                dependencies=revision.depends_on or None,
                branch_labels=revision.labels or None,
            )


def _render_step(context: _Context, step: Step) -> None:
    try:
        context.run_migrations()
    except (AttributeError, TypeError) as error:
        raise Refused(
            f"revision {step.revision.id} reads the database while it runs, so it cannot be written as SQL",
            database=step.database,
            location=failing_line(step.revision, error),
            detail=f"{type(error).__name__}: {error}",
            hint="run it with `circle-migrate upgrade`, or guard the reading with op.get_context().as_sql",
        ) from error


def _after(start: tuple[str, ...], step: Step, graph: Graph) -> tuple[str, ...]:
    applied = graph.ancestors(start)
    if step.direction is Direction.UP:
        return graph.tips(applied | {step.revision.id})
    return graph.tips(applied - {step.revision.id})


def _dialect() -> Any:
    from sqlalchemy.dialects import registry

    return registry.load(_DIALECT.replace("+", "."))()


@contextmanager
def _bound(context: MigrationContext, revision: Revision) -> Iterator[None]:
    """The revision's `op` bound to this context, and Alembic's global names too while the step runs."""
    operations = Operations(context)
    loaded = _load(revision.path, revision.checksum)
    for name, function in loaded.operations.items():
        setattr(loaded.module, name, getattr(operations, function) if function else operations)
    environment = EnvironmentContext(Config(), None)  # type: ignore[arg-type]
    environment._migration_context = context
    operations._install_proxy()
    environment._install_proxy()
    try:
        yield
    finally:
        environment._remove_proxy()
        operations._remove_proxy()


def _stamp(connection: Connection, stamp: Stamp, table: VersionTable) -> None:
    context = _Context(connection.dialect, connection, table.options)
    context._ensure_version_table(purge=True)
    if stamp.heads:
        rows = [{"version_num": head} for head in stamp.heads]
        connection.execute(context._version.insert(), rows)


def compare(connection: Connection, metadata: MetaData, table: VersionTable) -> MigrationScript:
    """What Alembic's autogenerate finds to do on the database to reach the models."""
    from alembic.autogenerate import produce_migrations

    options = {
        "compare_type": True,
        "compare_server_default": True,
        "target_metadata": metadata,
        **table.options,
    }
    return produce_migrations(_Context(connection.dialect, connection, options), metadata)


def as_code(script: MigrationScript) -> Mapping[str, str]:
    """The bodies of upgrade() and downgrade() for a comparison's result, indented for a function."""
    from alembic.autogenerate import render_python_code

    context = _Context(_dialect(), None, {"as_sql": True, "output_buffer": StringIO()})
    sides = {"upgrade": script.upgrade_ops, "downgrade": script.downgrade_ops}
    return {
        name: render_python_code(operations, migration_context=context)
        for name, operations in sides.items()
        if operations is not None
    }


def _line_in(path: Path, error: BaseException) -> int:
    """The line of `path` an exception came from, 1 where it is not in its traceback."""
    if isinstance(error, SyntaxError):
        return error.lineno or 1
    line = 1
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def failing_line(revision: Revision, error: BaseException) -> str:
    """The file and line of a revision in which a step failed, for messages."""
    line = _line_in(Path(revision.path), error)
    return f"{revision.path}:{line if line > 1 else revision.line}"
