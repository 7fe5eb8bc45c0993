"""Find the naming convention of models without importing them."""

from __future__ import annotations

import ast
from typing import NamedTuple

from circle_migrate.commands.adopt.source_files import MAX_HOPS, Modules, Reference, SourceFile

_OPTION = "naming_convention"


class Naming(NamedTuple):
    """Where the convention is; `file` is None if the models have none, or if it only follows from running."""

    file: SourceFile | None = None
    line: int = 0
    is_known: bool = True


def assigned(file: SourceFile) -> int | None:
    """Return the line in which a file sets the convention of a MetaData that it does not create."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Attribute) and target.attr == _OPTION for target in node.targets
        ):
            return node.lineno
    return None


def find_naming(reference: Reference, modules: Modules) -> Naming:
    """Return the naming convention of the MetaData that a reference leads to."""
    defined = modules.definition(reference)
    if defined is None:
        return Naming(is_known=False)
    return _of(*defined[:2], modules, MAX_HOPS)


def _of(file: SourceFile, node: ast.AST, modules: Modules, hops: int) -> Naming:
    """Return the convention of a MetaData, or of what has one as `metadata`: a class, a registry, a call."""
    if hops and (line := assigned(file)):
        return Naming(file, line)
    if hops and isinstance(node, ast.Call):
        return _of_call(file, node, modules, hops)
    if hops and isinstance(node, ast.ClassDef):
        return _of_class(file, node, modules, hops)
    if hops and isinstance(node, ast.Attribute) and node.attr in ("metadata", "registry", "Model"):
        return _follow(file, node.value, modules, hops)
    return Naming(is_known=False)


def _of_call(file: SourceFile, node: ast.Call, modules: Modules, hops: int) -> Naming:
    """Return the convention of a call of MetaData, declarative_base, registry or SQLAlchemy."""
    values = {keyword.arg: keyword.value for keyword in node.keywords}
    if _OPTION in values:
        return Naming(file, values[_OPTION].lineno)
    for name in ("metadata", "model_class", "cls"):
        if name in values:
            return _follow(file, values[name], modules, hops)
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    if isinstance(owner, ast.Name) and (binding := file.names.get(owner.id)) and binding.node:
        return _of(file, binding.node, modules, hops - 1)  # registry(...).generate_base()
    return Naming()


def _of_class(file: SourceFile, node: ast.ClassDef, modules: Modules, hops: int) -> Naming:
    """Return the convention of the metadata or registry of a class or of its bases."""
    for statement in node.body:
        targets = list(statement.targets) if isinstance(statement, ast.Assign) else []
        targets += [statement.target] if isinstance(statement, ast.AnnAssign) else []
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        value = getattr(statement, "value", None)
        if value is not None and names & {"metadata", "registry"}:
            return _follow(file, value, modules, hops)
    bases = [_follow(file, base, modules, hops) for base in node.bases]
    found = next((base for base in bases if base.file), None)
    return found or Naming(is_known=all(base.is_known for base in bases))


def _follow(file: SourceFile, value: ast.AST, modules: Modules, hops: int) -> Naming:
    """Return the convention of the value of an expression."""
    if isinstance(value, ast.Name) and (binding := file.names.get(value.id)) and binding.node:
        return _of(file, binding.node, modules, hops - 1)
    reference = modules.resolve(value, file)
    if reference is None:
        return _of(file, value, modules, hops - 1)
    defined = modules.definition(reference)
    if defined is None:
        return Naming(is_known=reference.module.partition(".")[0] == "sqlalchemy")
    return _of(*defined[:2], modules, hops - 1)
