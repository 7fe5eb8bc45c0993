"""Load revision files as Python modules, and locate errors in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from traceback import walk_tb
from types import FunctionType, ModuleType

import alembic.op

from circle_migrate.core.errors import TreeError
from circle_migrate.revision_graph.plan import Step
from circle_migrate.revision_graph.revision import Revision


class ExitCalled(Exception):
    """A revision calls sys.exit(), which would end the run without a word."""

    def __init__(self, error: SystemExit) -> None:
        super().__init__(
            f"the revision calls sys.exit({'' if error.code is None else repr(error.code)}), which raises "
            "SystemExit; write `return` to end a step early, or raise another exception to fail"
        )


class _SourceLoader(SourceFileLoader):
    """A loader without bytecode cache, whose granularity of a second misses quick edits."""

    def path_stats(self, path: str) -> Mapping[str, int]:
        raise OSError(path)  # makes Python neither read nor write bytecode


def load_module(path: Path | str) -> ModuleType:
    """Load a revision file as a module. Raises `TreeError` with file and line where that fails."""
    path = Path(path)
    try:
        loader = _SourceLoader(path.stem, str(path))
        spec = ModuleSpec(path.stem, loader, origin=str(path))
        spec.has_location = True  # the module's __file__
        module = module_from_spec(spec)
        loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:
        cause = ExitCalled(error) if isinstance(error, SystemExit) else error
        raise TreeError(
            f"{path.name} cannot be loaded",
            location=f"{path}:{_line_in(path, error)}",
            detail=f"{type(cause).__name__}: {cause}",
            hint="correct the file; nothing was run",
        ) from error


@dataclass(frozen=True, slots=True)
class Loaded:
    """A revision's module, and its names from Alembic: `op` itself (None) or the name of its function."""

    module: ModuleType
    operations: Mapping[str, str | None]


@cache
def load(path: str, checksum: str) -> Loaded:  # noqa: ARG001 - an edited file is loaded again
    """Load the module of a file, once while the file is unchanged."""
    module = load_module(path)
    names: dict[str, str | None] = {}
    for name, value in vars(module).items():
        if value is alembic.op:
            names[name] = None
        elif isinstance(value, FunctionType) and value is vars(alembic.op).get(function := value.__name__):
            names[name] = function
    return Loaded(module, names)


def module_of(revision: Revision) -> ModuleType:
    """Load the revision's module, once while its file is unchanged."""
    return load(revision.path, revision.checksum).module


def module_with(step: Step) -> ModuleType:
    """Load the step's module. Raises `TreeError` where it lacks the function for the step's direction."""
    module = module_of(step.revision)
    if not callable(getattr(module, step.function, None)):
        raise TreeError(
            f"revision {step.revision.id} has no {step.function}()",
            database=step.database,
            location=step.revision.location,
        )
    return module


def _line_in(path: Path, error: BaseException) -> int:
    """Return the last line of `path` in the traceback, 1 where there is none."""
    if isinstance(error, SyntaxError):
        return error.lineno or 1
    frames = walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == str(path)]
    return lines[-1] if lines else 1


def failing_line(revision: Revision, error: BaseException) -> str:
    """Return the file and line of the revision that raised the error, for messages."""
    line = _line_in(Path(revision.path), error)
    return f"{revision.path}:{line if line > 1 else revision.line}"
