"""Revision files read without running them: what `Revision` needs stands in their syntax tree.

Reading is static so that a question about the tree runs nobody's code and needs no Alembic. A file whose
`revision` or `down_revision` is computed is the exception: its module is loaded to learn the value.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from circle_migrate.core.errors import TreeError
from circle_migrate.revision_graph.revision import Revision

_NAMES = (
    "revision",
    "down_revision",
    "branch_labels",
    "depends_on",
    "requires",
    "transactional",
    "irreversible",
)

# What PostgreSQL refuses inside a transaction, as it is written in revisions.
NOT_IN_TRANSACTION = re.compile(
    r"\b(?:(?:create|drop)\s+(?:unique\s+)?index\s+concurrently|reindex\b[^;]*\bconcurrently"
    r"|detach\s+partition\s+\S+\s+concurrently|vacuum\b|create\s+database|drop\s+database|alter\s+system"
    r"|create\s+tablespace|drop\s+tablespace)",
    re.IGNORECASE,
)
_ADD_ENUM_VALUE = re.compile(r"\balter\s+type\s+\S+\s+add\s+value\b", re.IGNORECASE)
# Importing these tells nothing about helpers of the project.
_NO_HELPERS = {"alembic", "sqlalchemy", "circle_migrate", *sys.stdlib_module_names}
_OWN_TRANSACTION_CALLS = ("autocommit_block", "ensure_index_concurrently", "drop_index_concurrently")

ModuleLoader = Callable[[Path], Any]


def read_revision(database: str, path: Path, load_module: ModuleLoader) -> Revision:
    """Read one file. Raises `TreeError` where it cannot be read or is not a revision."""
    return read_source(database, path, read_file(database, path)[0], load_module)


def read_file(database: str, path: Path) -> tuple[bytes, os.stat_result]:
    """Return a file's content and its status before the read. Raises `TreeError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            # Of the open file, as the path may lead to another one meanwhile.
            status = os.fstat(file.fileno())
            return file.read(), status
    except OSError as error:
        raise TreeError(
            f"{path.name} cannot be read",
            database=database,
            location=str(path),
            detail=error.strerror,
            hint="make it readable, or take it away where it is no revision; nothing was run",
        ) from error


def read_source(database: str, path: Path, source: bytes, load_module: ModuleLoader) -> Revision:
    """`read_revision` for a text that need not be what the file holds now."""
    source = source.replace(b"\r\n", b"\n")
    try:
        tree = ast.parse(source, filename=str(path))
    except (SyntaxError, ValueError) as error:  # Python before 3.11.4 raises ValueError for a NUL byte
        raise _not_python(database, path, error) from error
    values, lines = _assignments(tree)
    if any(value is _COMPUTED for value in values.values()):
        module = load_module(path)
        values = {name: getattr(module, name, None) for name in _NAMES if hasattr(module, name)}
    return _revision(database, path, source, tree, values, lines)


def _not_python(database: str, path: Path, error: SyntaxError | ValueError) -> TreeError:
    line, text = 1, str(error)
    if isinstance(error, SyntaxError):
        line, text = error.lineno or 1, f"{error.msg}: {(error.text or '').strip()}"
    return TreeError(
        f"{path.name} is not valid Python",
        database=database,
        location=f"{path}:{line}",
        detail=text,
        hint="correct the file; nothing was run",
    )


_COMPUTED = object()


def _assignments(tree: ast.Module) -> tuple[dict[str, Any], dict[str, int]]:
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for node in tree.body:
        for name, value in _named(node):
            lines[name] = node.lineno
            try:
                values[name] = ast.literal_eval(value)
            except ValueError:
                values[name] = _COMPUTED
    return values, lines


def _named(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        targets: list[ast.expr] = node.targets
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    else:
        return
    for target in targets:
        if isinstance(target, ast.Name) and target.id in _NAMES and node.value is not None:
            yield target.id, node.value


def _revision(
    database: str,
    path: Path,
    source: bytes,
    tree: ast.Module,
    values: Mapping[str, Any],
    lines: Mapping[str, int],
) -> Revision:
    key = values.get("revision")
    if not isinstance(key, str) or not key:
        raise TreeError(
            f"{path.name} has no `revision`",
            database=database,
            location=f"{path}:1",
            hint="every Python file in the folder must be a revision; move helpers elsewhere",
        )
    doc = ast.get_docstring(tree) or ""
    code = _code(tree)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if "upgrade" not in functions and not _imports_name(tree, "upgrade"):
        raise TreeError(
            f"revision {key} has no upgrade()",
            database=database,
            location=f"{path}:{lines.get('revision', 1)}",
        )
    return Revision(
        database=database,
        id=key,
        message=doc.partition("\n")[0].strip(),
        doc=doc,
        path=str(path),
        line=lines.get("revision", 1),
        down_revisions=_names(values, "down_revision", path, database),
        depends_on=_names(values, "depends_on", path, database),
        labels=_names(values, "branch_labels", path, database),
        requires=_names(values, "requires", path, database),
        non_transactional_reason=_non_transactional_reason(code, values),
        commit_after_reason=_commit_after_reason(code),
        irreversible=values.get("irreversible"),
        has_downgrade="downgrade" in functions or _imports_name(tree, "downgrade"),
        uses_helpers=_uses_helpers(code),
        checksum=hashlib.sha256(source).hexdigest(),
    )


def _names(values: Mapping[str, Any], name: str, path: Path, database: str) -> tuple[str, ...]:
    value = values.get(name)
    found = (value,) if isinstance(value, str) else tuple(value or ()) if _is_several(value) else (None,)
    if not all(isinstance(each, str) and each for each in found):
        raise TreeError(
            f"`{name}` in {path.name} is not a revision or several",
            database=database,
            location=f"{path}:1",
            hint=f'write {name} = None, {name} = "id" or {name} = ("id", "id")',
        )
    return found


def _is_several(value: object) -> bool:
    return value is None or isinstance(value, tuple | list | set | frozenset)


def _imports_name(tree: ast.Module, name: str) -> bool:
    """Whether the module gets the function from elsewhere: an import or an assignment."""
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return name in imported | assigned


def _non_transactional_reason(code: Sequence[ast.AST], values: Mapping[str, Any]) -> str | None:
    """Why the revision must run outside a transaction: declared, or plain to see in the file."""
    reason = next(_outside_transaction(code), None)
    if values.get("transactional") is False:
        return reason or "it declares transactional = False"
    return f"{reason} (not declared: write `transactional = False`)" if reason else None


def _outside_transaction(code: Sequence[ast.AST]) -> Iterator[str]:
    for node in code:
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if name in _OWN_TRANSACTION_CALLS:
                yield f"{name} in line {node.lineno}"
            for keyword in node.keywords:
                if keyword.arg == "postgresql_concurrently" and getattr(keyword.value, "value", None) is True:
                    yield f"postgresql_concurrently in line {node.lineno}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = NOT_IN_TRANSACTION.search(node.value)
            if match is not None:
                yield f"{' '.join(match[0].split()).upper()} in line {node.lineno}"


def _uses_helpers(code: Sequence[ast.AST]) -> bool:
    for node in code:
        if isinstance(node, ast.Import) and any(
            alias.name.partition(".")[0] not in _NO_HELPERS for alias in node.names
        ):
            return True
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] not in _NO_HELPERS:
            return True
    return False


def _commit_after_reason(code: Sequence[ast.AST]) -> str | None:
    for node in code:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _ADD_ENUM_VALUE.search(node.value)
        ):
            return f"ALTER TYPE ADD VALUE in line {node.lineno}; the value cannot be used before"
    return None


def _code(tree: ast.Module) -> list[ast.AST]:
    """Every node that is not part of a docstring."""
    nodes = list(ast.walk(tree))
    docstrings = {
        node.body[0].value  # type: ignore[attr-defined]
        for node in nodes
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and ast.get_docstring(node) is not None
    }
    return [node for node in nodes if node not in docstrings]
