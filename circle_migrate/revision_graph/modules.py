"""Load revision files as Python modules, and locate errors in them."""

import re
import sys
from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from pkgutil import resolve_name
from traceback import walk_tb
from types import CodeType, FunctionType, ModuleType
from typing import cast

import alembic.op
from alembic.operations import Operations

from circle_migrate.core.errors import TreeError, text_of
from circle_migrate.core.shield import end_if_signalled
from circle_migrate.revision_graph.plan import Step
from circle_migrate.revision_graph.revision import Revision, normalized_text

_INSTALLED = {"site-packages", "dist-packages"}


class ExitCalled(Exception):
    """A revision calls sys.exit(), or raises another exception that `except Exception` does not catch."""


@contextmanager
def exits_as_errors() -> Iterator[None]:
    """Raise `ExitCalled` for what would end the run without an error; signals do so as before."""
    try:
        yield
    except StopIteration as error:  # no coroutine may raise it
        raise RuntimeError("StopIteration, as of next()").with_traceback(error.__traceback__) from None
    except BaseException as error:
        end_if_signalled()
        if isinstance(error, Exception | KeyboardInterrupt | CancelledError):
            raise
        text = f"the revision calls sys.exit() or raises {type(error).__name__}({text_of(error)}); write"
        text += " `return` to end a step early, or raise another exception to fail"
        raise ExitCalled(text).with_traceback(error.__traceback__) from None


_compiled: dict[str, tuple[bytes, CodeType]] = {}
"""The text and the code of files by their paths; each run makes its own modules of them."""


class _SourceLoader(SourceFileLoader):
    """A loader without bytecode cache, whose granularity of a second misses quick edits."""

    source = b""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - as declared
        self.source = self.get_data(self.path)
        source, code = _compiled.get(self.path, (b"", None))
        if code is None or source != self.source:
            code = self.source_to_code(self.source, self.path)
            _compiled[self.path] = self.source, code
        return code


def load_module(path: Path | str) -> ModuleType:
    """Load a revision file as a module. Raises `TreeError` with file and line where that fails."""
    path = Path(path)
    try:
        loader = _SourceLoader(path.stem, str(path))
        spec = ModuleSpec(path.stem, loader, origin=str(path))
        spec.has_location = True  # the module's __file__
        module = module_from_spec(spec)
        with exits_as_errors():
            loader.exec_module(module)
        return module
    except Exception as error:
        raise TreeError(
            f"{path.name} cannot be loaded",
            location=f"{path}:{_line_in(path, error)}",
            detail=f"{type(error).__name__}: {text_of(error)}",
            hint=missing_package_hint(error) or "correct the file; nothing was run",
        ) from error


def missing_package_hint(error: BaseException) -> str | None:
    """Return what to install or import where a module was not found, None for other errors."""
    if isinstance(error, AttributeError) and isinstance(error.obj, Operations):
        return "correct the name, or name the module that adds it to op in `imports`, as no env.py is run"
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    if package != error.name and package in sys.modules:
        return f"correct the import of {error.name}, or install the version of {package} that has it"
    return (
        f"install the package that has the module {package} where circle-migrate is installed: "
        f"{sys.executable} -m pip install {package}; or, if it is the project's, add its folder to PYTHONPATH"
    )


@dataclass(slots=True)
class LoadedModule:
    """A revision's module, and its names from Alembic: `op` itself (None) or the name of its function.

    `source` is the text of the file with normalized line ends.
    `is_stale` means that the module, and those that it imports from its folder, must be loaded again.
    """

    module: ModuleType
    operations: Mapping[str, str | None]
    checksum: str
    source: str
    has_run: bool = False
    is_stale: bool = False


_loaded: dict[str, LoadedModule] = {}
"""The modules that were loaded last, by the paths of their files."""


def load_for_run(revision: Revision) -> LoadedModule:
    """Load the revision's module, and what it imports from its folder, without the state of earlier runs."""
    loaded = _load(revision)
    if loaded.has_run and not loaded.is_stale:
        _forget(Path(revision.path))
    if loaded.is_stale:
        del _loaded[revision.path]
        try:
            loaded = _load(revision)
        except TreeError:  # it defines something in an installed package, where it exists by now
            loaded.is_stale = False
            _loaded[revision.path] = loaded
    loaded.has_run = True
    return loaded


def _load(revision: Revision) -> LoadedModule:
    """Load the module of a file, once while the file is unchanged."""
    loaded = _loaded.get(revision.path)
    if loaded is not None and loaded.checksum == revision.checksum:
        return loaded
    module = load_module(revision.path)
    source = normalized_text(cast("_SourceLoader", module.__loader__).source)
    for package, value in list(vars(module).items()):
        if isinstance(value, ModuleType) and value.__name__ == package:  # after `import package`
            for name in dict.fromkeys(re.findall(rf"(?<![\w.]){package}(?:\.[^\W\d]\w*)+", source)):
                with suppress(Exception):
                    resolve_name(name)  # imports its modules, as env.py may do, which is not run
    names: dict[str, str | None] = {}
    for name, value in vars(module).items():
        if value is alembic.op:
            names[name] = None
        elif isinstance(value, FunctionType) and value is vars(alembic.op).get(function := value.__name__):
            names[name] = function
    loaded = _loaded[revision.path] = LoadedModule(module, names, revision.checksum, source)
    return loaded


def shared_folder(path: Path) -> Path:
    """Return the folder whose modules the revisions of a tree share, given the path of one of them."""
    return next((parent for parent in path.parents[:3] if (parent / "env.py").is_file()), path.parent)


def _forget(path: Path) -> None:
    """Forget the modules of the folder with the revisions, or with their `env.py`; not installed packages."""
    folder = shared_folder(path)
    for name, loaded in _loaded.items():
        loaded.is_stale = loaded.is_stale or folder in Path(name).parents
    for name in [name for name, module in list(sys.modules.items()) if _is_below(folder, module)]:
        module = sys.modules.pop(name)
        parent, _, child = name.rpartition(".")
        if getattr(sys.modules.get(parent), child, None) is module:
            delattr(sys.modules[parent], child)  # `from parent import child` looks there first


def _is_below(folder: Path, module: ModuleType) -> bool:
    values = getattr(module, "__dict__", {})
    places = [values.get("__file__"), *values.get("__path__", ())]
    candidates = [Path(place) for place in places if str(place).startswith(str(folder))]
    return any(folder in (path, *path.parents) and not _INSTALLED & set(path.parts) for path in candidates)


def module_of(revision: Revision) -> ModuleType:
    """Return the revision's module that was loaded last."""
    return _load(revision).module


def source_of(revision: Revision) -> str:
    """Return the text of the file of the module that was loaded last, with normalized line ends."""
    return _load(revision).source


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
