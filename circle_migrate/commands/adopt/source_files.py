"""Python files of a project: what their names stand for, found without importing anything."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

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
    """A parsed file; `names` are the bindings of its module.

    Raises `OSError`, `SyntaxError` or `ValueError` for a file that cannot be read.
    """

    def __init__(self, path: Path, package: str = "") -> None:
        self.path, self._package = path, package
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in strings
            self.tree = ast.parse(content, str(path))
        self.text = content.decode("utf-8", "replace")
        self.statements = list(_statements(self.tree.body))
        self.names: dict[str, Binding] = {}
        self._others: dict[str, Binding] = {}
        self.stars: dict[str, int] = {}
        for statement in self.statements:
            self._bind(statement, self.names)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for statement in _statements(node.body):
                    self._bind(statement, self._others)

    def binding(self, name: str) -> Binding | None:
        """Return what a name stands for in the module, else in one of its functions."""
        return self.names.get(name) or self._others.get(name)

    def _bind(self, statement: ast.stmt, names: dict[str, Binding]) -> None:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or module] = Binding(statement.lineno, module)
        elif isinstance(statement, ast.ImportFrom):
            module = self.absolute(statement)
            for alias in statement.names:
                if alias.name == "*":
                    self.stars[module] = statement.lineno
                else:
                    names[alias.asname or alias.name] = Binding(statement.lineno, module, alias.name)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[statement.name] = Binding(statement.lineno, node=statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
                if isinstance(target, ast.Name):
                    names[target.id] = Binding(statement.lineno, node=statement.value)

    def absolute(self, statement: ast.ImportFrom) -> str:
        """Return the module of an import, also of a relative one."""
        parts = self._package.split(".") if self._package else []
        start = parts[: len(parts) - statement.level + 1] if statement.level else []
        return ".".join([*start, *filter(None, [statement.module])])


def line_of(pattern: re.Pattern[str], text: str) -> int:
    """Return the line of the first match, 0 without one."""
    match = pattern.search(text)
    return text.count("\n", 0, match.start()) + 1 if match else 0


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements and those of blocks in them, without those of functions and classes."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for part in (statement, *getattr(statement, "handlers", ())):
                for block in ("body", "orelse", "finalbody"):
                    yield from _statements(getattr(part, block, ()))


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
        try:
            return SourceFile(path, module if path.name == "__init__.py" else module.rpartition(".")[0])
        except (OSError, SyntaxError, ValueError):
            return None

    def resolve(self, expression: ast.AST | None, file: SourceFile, hops: int = MAX_HOPS) -> Reference | None:
        """Return the object that an expression in the file names; None if it only follows from running it."""
        if isinstance(expression, ast.Name) and hops:
            binding = file.binding(expression.id)
            if binding is None:
                return self._from_stars(expression.id, file, hops)
            if binding.node is not None:
                return self.resolve(binding.node, file, hops - 1)
            return self.member(Reference(binding.module), binding.attribute)
        if isinstance(expression, ast.Attribute):
            owner = self.resolve(expression.value, file, hops)
            return owner and self.member(owner, expression.attr)
        if isinstance(expression, ast.List | ast.Tuple) and len(expression.elts) == 1:
            return self.resolve(expression.elts[0], file, hops)
        return None

    def member(self, owner: Reference, name: str) -> Reference:
        """Return an attribute of an object, or a module of a package; the object itself without a name."""
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

    def definition(self, reference: Reference | None) -> tuple[SourceFile, ast.AST, tuple[str, ...]] | None:
        """Return the file and the node that define an object, and the attributes that remain."""
        for _ in range(MAX_HOPS):
            file = self.file(reference.module) if reference and reference.attributes else None
            if reference is None or file is None:
                return None
            name, *rest = reference.attributes
            binding = file.names.get(name)
            if binding is None:
                reference = self._from_stars(name, file, MAX_HOPS)
            elif binding.node is None:
                reference = self.member(Reference(binding.module), binding.attribute)
            else:
                reference = self.resolve(binding.node, file)
                if reference is None:
                    return file, binding.node, tuple(rest)
            for attribute in rest:
                reference = reference and self.member(reference, attribute)
        return None
