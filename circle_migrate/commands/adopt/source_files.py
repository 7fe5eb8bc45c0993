"""Python files of a project: what their names stand for, found without importing anything."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from circle_migrate.core.errors import UsageError

MAX_HOPS = 20
"""Imports and assignments that are followed from a name to its value."""


class Binding(NamedTuple):
    """What a name stands for: an import of `module` or of its `attribute`, or the node that binds it."""

    line: int
    module: str = ""
    attribute: str = ""
    node: ast.AST | None = None


class Reference(NamedTuple):
    """A module, and the attributes that lead from it to an object."""

    module: str
    attributes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as settings name it: package.module:attribute."""
        return f"{self.module}:{'.'.join(self.attributes)}"


class SourceFile:
    """A parsed file; `names` are the bindings of its module, `inner` those of its functions."""

    def __init__(self, path: Path, package: str = "") -> None:
        self.path, self._package = path, package
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of invalid escapes in strings
                content = path.read_bytes()
                self.tree = ast.parse(content, str(path))
        except (OSError, SyntaxError, ValueError) as error:
            reason = getattr(error, "strerror", None) or getattr(error, "msg", None) or type(error).__name__
            raise UsageError(f"{path} cannot be read", detail=str(reason)) from None
        self.text = content.decode("utf-8", "replace")
        self.names: dict[str, Binding] = {}
        self.inner: dict[str, Binding] = {}
        self.stars: dict[str, int] = {}
        for statement in _statements(self.tree.body):
            self._bind(statement, self.names)
        for function in ast.walk(self.tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for statement in _statements(function.body):
                    self._bind(statement, self.inner)

    def binding(self, name: str) -> Binding | None:
        """Return what a name stands for in the module, else in one of its functions."""
        return self.names.get(name) or self.inner.get(name)

    def _bind(self, statement: ast.stmt, names: dict[str, Binding]) -> None:
        line = statement.lineno
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or module] = Binding(line, module)
        elif isinstance(statement, ast.ImportFrom):
            module = self.absolute(statement)
            for alias in statement.names:
                if alias.name == "*":
                    self.stars[module] = line
                else:
                    names[alias.asname or alias.name] = Binding(line, module, alias.name)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[statement.name] = Binding(line, node=statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    names[target.id] = Binding(line, node=statement.value)

    def absolute(self, statement: ast.ImportFrom) -> str:
        """Return the module of an import, also of a relative one."""
        parts = self._package.split(".") if self._package else []
        start = parts[: len(parts) - statement.level + 1] if statement.level else []
        return ".".join([*start, *filter(None, [statement.module])])


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements and those of blocks in them, without those of functions and classes."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.AsyncWith | ast.For | ast.While):
            for block in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, block, ()))
            for handler in getattr(statement, "handlers", ()):
                yield from _statements(handler.body)


class Modules:
    """The modules of a project, which are searched in `roots` and parsed, not imported."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [str(root) for root in roots]
        self.find = cache(self._find)
        self.file = cache(self._file)

    def is_importable(self, module: str) -> bool:
        """Return whether the package of a module is in one of the folders or installed."""
        top = module.partition(".")[0]
        try:
            return bool(top) and (PathFinder.find_spec(top, self._roots) or find_spec(top)) is not None
        except (ImportError, ValueError):
            return False

    def _find(self, module: str) -> Path | None:
        """Return the file of a module of the project; None for one that is elsewhere."""
        for root in self._roots:
            path = Path(root, *module.split("."))
            for file in (path / "__init__.py", path.with_suffix(".py")):
                if file.is_file():
                    return file
        return None

    def _file(self, module: str) -> SourceFile | None:
        path = self.find(module)
        if path is None:
            return None
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        try:
            return SourceFile(path, package)
        except UsageError:
            return None

    def resolve(self, expression: ast.AST | None, file: SourceFile) -> Reference | None:
        """Return the object that an expression in the file names; None if it only follows from running it."""
        return self._resolve(expression, file, MAX_HOPS)

    def _resolve(self, expression: ast.AST | None, file: SourceFile, hops: int) -> Reference | None:
        if isinstance(expression, ast.Name) and hops:
            binding = file.binding(expression.id)
            if binding is None:
                return self._from_stars(expression.id, file, hops)
            if binding.node is not None:
                return self._resolve(binding.node, file, hops - 1)
            return self._member(Reference(binding.module), binding.attribute)
        if isinstance(expression, ast.Attribute):
            owner = self._resolve(expression.value, file, hops)
            return owner and self._member(owner, expression.attr)
        if isinstance(expression, ast.List | ast.Tuple) and len(expression.elts) == 1:
            return self._resolve(expression.elts[0], file, hops)
        return None

    def _member(self, owner: Reference, name: str) -> Reference:
        """Return an attribute of an object, or a module of a package."""
        if not name:
            return owner
        if not owner.attributes and self.find(f"{owner.module}.{name}"):
            return Reference(f"{owner.module}.{name}")
        return Reference(owner.module, (*owner.attributes, name))

    def _from_stars(self, name: str, file: SourceFile, hops: int) -> Reference | None:
        for module in file.stars if hops else ():
            source = self.file(module)
            if source and (source.binding(name) or self._from_stars(name, source, hops - 1)):
                return Reference(module, (name,))
        return None

    def definition(self, reference: Reference) -> tuple[SourceFile, ast.AST, tuple[str, ...]] | None:
        """Return the file and the node that define an object, and the attributes that remain."""
        for _ in range(MAX_HOPS):
            file = self.file(reference.module)
            if file is None or not reference.attributes:
                return None
            name, *rest = reference.attributes
            binding = file.names.get(name)
            if binding is None:
                following = self._from_stars(name, file, MAX_HOPS)
            elif binding.node is None:
                following = self._member(Reference(binding.module), binding.attribute)
            else:
                following = self.resolve(binding.node, file)
                if following is None:
                    return file, binding.node, tuple(rest)
            if following is None:
                return None
            for attribute in rest:
                following = self._member(following, attribute)
            reference = following
        return None
