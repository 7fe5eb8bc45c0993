"""Read revision files without running them, from their syntax trees.

Reading needs no Alembic and runs no code of the project, except for a file with computed values, such as a
`down_revision` from a function call: its module is loaded.
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

_ADD_ENUM_VALUE = re.compile(
    r"(?:^|;|\b(?:begin|then|else|loop)\b)\s*"  # the words are those of a DO block
    r'alter\s+type\s+(?:"[^"]*"|[\w$.])+\s+add\s+value\b',
    re.IGNORECASE,
)
_NO_CODE = re.compile(r"--[^\n]*|/\*.*?\*/|(?<!\bdo )\$(\w*)\$.*?\$\1\$|'[^']*'", re.DOTALL | re.IGNORECASE)
_SENDS_TEXT = ("execute", "exec_driver_sql", "text", "DDL")
# Packages that are no helpers of the project.
_KNOWN_PACKAGES = {"alembic", "sqlalchemy", "circle_migrate", *sys.stdlib_module_names}
_OWN_TRANSACTION_CALLS = ("autocommit_block", "ensure_index_concurrently", "drop_index_concurrently")

ModuleLoader = Callable[[Path], Any]


def read_revision(database: str, path: Path, load_module: ModuleLoader) -> Revision:
    """Read a revision file. Raises `TreeError` where it cannot be read or is not a revision."""
    return read_source(database, path, read_file(database, path)[0], load_module)


def read_file(database: str, path: Path) -> tuple[bytes, os.stat_result]:
    """Return a file's content and its status before the read. Raises `TreeError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())  # the path may lead to another file now
            return file.read(), status
    except OSError as error:
        raise TreeError(
            f"{path.name} cannot be read",
            database=database,
            location=str(path),
            detail=error.strerror,
            hint="make it readable, or remove it if it is not a revision; nothing was run",
        ) from error


def read_doc(revision: Revision) -> str:
    """Return the docstring of a revision file. Raises `TreeError` where the file cannot be read any more."""
    source, _ = read_file(revision.database, Path(revision.path))
    return ast.get_docstring(ast.parse(source)) or ""


def read_source(database: str, path: Path, source: bytes, load_module: ModuleLoader) -> Revision:
    """Read a revision from `source` instead of the content of its file, as `read_revision` does."""
    source = source.replace(b"\r\n", b"\n")
    try:
        tree = ast.parse(source, filename=str(path))
    # Python before 3.11.4 raises ValueError for a NUL byte; too deep nesting has the last two.
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line, detail = 1, str(error) or "it is nested too deeply for Python's parser"
        if isinstance(error, SyntaxError):
            line, detail = error.lineno or 1, f"{error.msg}: {(error.text or '').strip()}"
        raise TreeError(
            f"{path.name} is not valid Python",
            database=database,
            location=f"{path}:{line}",
            detail=detail,
            hint="correct the file; nothing was run",
        ) from error
    values: dict[str, Any] = {}
    line = 1
    for target, value in _assignments(tree):
        if target.id == "revision":
            line = target.lineno
        if target.id in _NAMES:
            try:
                values[target.id] = ast.literal_eval(value)
            except ValueError:
                values[target.id] = _COMPUTED
    if _COMPUTED in values.values():
        module = load_module(path)
        values = {name: getattr(module, name) for name in _NAMES if hasattr(module, name)}
    return _revision(database, path, source, tree, values, line)


_COMPUTED = object()


def _assignments(tree: ast.Module) -> Iterator[tuple[ast.Name, ast.expr]]:
    """Yield the assigned global names and their values."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target, node.value


def _revision(
    database: str, path: Path, source: bytes, tree: ast.Module, values: Mapping[str, Any], line: int
) -> Revision:
    key = values.get("revision")
    if not isinstance(key, str) or not key:
        raise TreeError(
            f"{path.name} has no `revision`",
            database=database,
            location=f"{path}:1",
            hint="every Python file in the folder must be a revision; move helpers to another folder",
        )
    doc = ast.get_docstring(tree) or ""
    code = _code(tree)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    functions.update(target.id for target, _ in _assignments(tree))
    functions.update(
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )
    if "upgrade" not in functions:
        raise TreeError(f"revision {key} has no upgrade()", database=database, location=f"{path}:{line}")
    return Revision(
        database=database,
        id=key,
        message=doc.partition("\n")[0].strip(),
        path=str(path),
        line=line,
        down_revisions=_names(values, "down_revision", path, database),
        depends_on=_names(values, "depends_on", path, database),
        labels=_names(values, "branch_labels", path, database),
        requires=_names(values, "requires", path, database),
        non_transactional_reason=_non_transactional_reason(code, values),
        commit_after_reason=_commit_after_reason(code),
        irreversible=values.get("irreversible"),
        has_downgrade="downgrade" in functions,
        uses_helpers=_uses_helpers(code),
        checksum=hashlib.sha256(source).hexdigest(),
    )


def _names(values: Mapping[str, Any], name: str, path: Path, database: str) -> tuple[str, ...]:
    value = values.get(name)
    names = tuple(value or ()) if value is None or isinstance(value, _COLLECTIONS) else (value,)
    if not all(isinstance(key, str) and key for key in names):
        raise TreeError(
            f"`{name}` in {path.name} is neither an id nor a tuple of ids",
            database=database,
            location=f"{path}:1",
            hint=f'write {name} = None, {name} = "id" or {name} = ("id", "id")',
        )
    return names


_COLLECTIONS = (tuple, list, set, frozenset)


def _non_transactional_reason(code: Sequence[ast.AST], values: Mapping[str, Any]) -> str | None:
    """Return why the revision cannot share a transaction: its declaration, or a call that ends transactions.

    Text that only looks like a statement decides nothing; the server refuses what needs a declaration.
    """
    declared = values.get("transactional")
    calls = (f"{name} in line {node.lineno}" for node, name in _calls(code) if name in _OWN_TRANSACTION_CALLS)
    reason = next(calls, None)
    if declared is False:
        return reason or "it declares transactional = False"
    return f"{reason} (not declared: write `transactional = False`)" if reason and not declared else None


def _calls(code: Sequence[ast.AST]) -> Iterator[tuple[ast.Call, str | None]]:
    for node in code:
        if isinstance(node, ast.Call):
            yield node, getattr(node.func, "attr", None) or getattr(node.func, "id", None)


def _uses_helpers(code: Sequence[ast.AST]) -> bool:
    modules = [node.module or "" for node in code if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in code if isinstance(node, ast.Import) for alias in node.names]
    return not _KNOWN_PACKAGES.issuperset(module.partition(".")[0] for module in modules)


def _commit_after_reason(code: Sequence[ast.AST]) -> str | None:
    texts = {
        target.id: node.value
        for node in code
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node, name in _calls(code):
        if name in _SENDS_TEXT and node.args:
            argument = node.args[0]
            text = _text(texts.get(argument.id, argument) if isinstance(argument, ast.Name) else argument)
            if _ADD_ENUM_VALUE.search(_NO_CODE.sub("", text)):
                return f"ALTER TYPE ADD VALUE in line {node.lineno}; the value cannot be used before"
    return None


def _text(node: ast.expr) -> str:
    """Return the text of a string, with `_` for what an f-string, `%` or `format` puts in; else nothing."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "_" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + (_text(node.right) if isinstance(node.op, ast.Add) else "")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _text(node.func.value)
    return ""


def _code(tree: ast.Module) -> list[ast.AST]:
    """Return all nodes except docstrings."""
    nodes = list(ast.walk(tree))
    docstrings = {
        node.body[0].value  # type: ignore[attr-defined]
        for node in nodes
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and ast.get_docstring(node) is not None
    }
    return [node for node in nodes if node not in docstrings]
