"""Revision files as Python modules, and the lines in them that errors come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

import alembic.op

from circle_migrate.core.errors import TreeError
from circle_migrate.revision_graph.plan import Direction, Step
from circle_migrate.revision_graph.revision import Revision


class _SourceLoader(SourceFileLoader):
    """Runs what the file says: cached bytecode is known by size and second, and so outlives a quick edit."""

    def path_stats(self, path: str) -> Mapping[str, int]:
        raise OSError(path)  # what Python neither reads nor writes bytecode after


def load_module(path: Path | str) -> ModuleType:
    """A revision file as a module of its own. Raises `TreeError` with file and line where it cannot be."""
    path = Path(path)
    try:
        loader = _SourceLoader(path.stem, str(path))
        spec = ModuleSpec(path.stem, loader, origin=str(path))
        spec.has_location = True  # the module's __file__
        module = module_from_spec(spec)
        loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:
        raise TreeError(
            f"{path.name} cannot be loaded",
            location=f"{path}:{_line_in(path, error)}",
            detail=f"{type(error).__name__}: {error}",
            hint="correct the file; nothing was run",
        ) from error


@dataclass(frozen=True, slots=True)
class Loaded:
    """A revision's module, and which of its names are Alembic's: `op` itself (None) or a function of it."""

    module: ModuleType
    operations: Mapping[str, str | None]


@cache
def load(path: str, checksum: str) -> Loaded:  # noqa: ARG001 - an edited file is another file
    """The module of a file, loaded once for as long as the file stays the same."""
    module = load_module(path)
    names: dict[str, str | None] = {}
    for name, value in vars(module).items():
        if value is alembic.op:
            names[name] = None
        elif (function := getattr(value, "__name__", None)) and value is getattr(alembic.op, function, None):
            names[name] = function
    return Loaded(module, names)


def module_of(revision: Revision) -> ModuleType:
    """The revision's module, loaded once for as long as its file stays the same."""
    return load(revision.path, revision.checksum).module


def module_with(step: Step) -> ModuleType:
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
