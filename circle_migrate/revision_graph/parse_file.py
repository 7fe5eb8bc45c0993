"""Read revision files without running them, from their syntax trees.

Reading needs no Alembic and runs no code of the project, except for a file with computed values, such as a
`down_revision` from a function call: its module is loaded.
"""

import ast
import errno
import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from circle_migrate.core.errors import TreeError
from circle_migrate.revision_graph.revision import ModuleLoader, Revision

_NAMES = (
    "revision",
    "down_revision",
    "branch_labels",
    "depends_on",
    "requires",
    "replaces",
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

_REFUSED_CHARACTERS = frozenset("@-+:'\0")
_TARGETS = ("base", "head", "heads")
_MAX_QUOTED = 200
_MAX_BYTES = 10 << 20
"""Python's parser needs about a hundred times the memory of the file."""


def load_module(path: Path) -> Any:
    """Import a revision file that cannot be read statically; imports Alembic."""
    from circle_migrate.revision_graph import modules

    return modules.load_module(path)


def read_revision(database: str, path: Path, load: ModuleLoader = load_module) -> Revision:
    """Read a revision file. Raises `TreeError` where it cannot be read or is not a revision."""
    return read_source(database, path, read_file(database, path)[0], load)


def read_file(database: str, path: Path) -> tuple[bytes, os.stat_result]:
    """Return a file's content and its status before the read. Raises `TreeError` where it cannot be read."""
    try:
        # O_NONBLOCK: a pipe must not block.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())  # the path may lead to another file now
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            if status.st_size > _MAX_BYTES:
                raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes, more than {_MAX_BYTES:,}")
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


def read_source(database: str, path: Path, source: bytes, load: ModuleLoader = load_module) -> Revision:
    """Read a revision from `source` instead of the content of its file, as `read_revision` does."""
    source = source.replace(b"\r\n", b"\n")
    tree = _parse(database, path, source)
    names: set[str] = set()
    values: dict[str, Any] = {}
    line = 1
    for name, value, value_line in _bindings(tree.body):
        names.add(name)
        if name in _NAMES and not isinstance(value, ast.stmt):
            values[name] = _literal(value)
            line = value_line if name == "revision" else line
    if _COMPUTED in values.values() or (
        "*" in names and not names.issuperset(("revision", "down_revision", "upgrade"))
    ):
        module = load(path)
        names = set(vars(module))
        values = {name: getattr(module, name) for name in _NAMES if name in names}
    key = values.get("revision")
    if key is not None and not isinstance(key, str):
        raise TreeError(
            f"`revision` of {path.name} is no text: {str(key)[:_MAX_QUOTED]}",
            database=database,
            location=f"{path}:{line}",
            hint="write the id in quotes, there and in every `down_revision` that names it",
        )
    if not key:
        raise TreeError(
            f"{path.name} has no `revision`",
            database=database,
            location=f"{path}:1",
            hint="every Python file in the folder must be a revision; move helpers to another folder",
        )
    if refused := sorted(_REFUSED_CHARACTERS.intersection(key)):
        raise TreeError(
            f"revision id {key!r} has {' and '.join(refused)}, which Alembic refuses",
            database=database,
            location=f"{path}:{line}",
            hint="write letters, digits, _ and . in `revision` and in every `down_revision` that names it",
        )
    if key in _TARGETS:
        raise TreeError(
            f"revision id {key!r} has another meaning as a target",
            database=database,
            location=f"{path}:{line}",
            hint=f"write another id than {', '.join(_TARGETS)}",
        )
    for name, text in ("upgrade", "upgrade()"), ("down_revision", "`down_revision`, None if it is the first"):
        if name not in names:
            raise TreeError(f"revision {key} has no {text}", database=database, location=f"{path}:{line}")
    code = list(ast.walk(tree))
    return Revision(
        database=database,
        id=key,
        message=(ast.get_docstring(tree) or "").partition("\n")[0].strip(),
        path=str(path),
        line=line,
        down_revisions=_names(values, "down_revision", path, database),
        depends_on=_names(values, "depends_on", path, database),
        labels=_names(values, "branch_labels", path, database),
        requires=_names(values, "requires", path, database),
        non_transactional_reason=_non_transactional_reason(code, values),
        commit_after_reason=_commit_after_reason(code),
        irreversible=values.get("irreversible"),
        has_downgrade="downgrade" in names,
        uses_helpers=_uses_helpers(code),
        checksum=hashlib.sha256(source).hexdigest(),
        replaces=_names(values, "replaces", path, database),
    )


def _parse(database: str, path: Path, source: bytes) -> ast.Module:
    try:
        return ast.parse(source, filename=str(path))
    # Python before 3.11.4 raises ValueError for a NUL byte; too deep nesting has the last two.
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line, detail = 1, str(error) or "it is nested too deeply for Python's parser"
        if isinstance(error, SyntaxError):
            line, detail = error.lineno or 1, f"{error.msg}: {(error.text or '').strip()[:_MAX_QUOTED]}"
        raise TreeError(
            f"{path.name} is not valid Python",
            database=database,
            location=f"{path}:{line}",
            detail=detail,
            hint="correct the file; nothing was run",
        ) from error


_COMPUTED = object()

_Binding = tuple[str, ast.AST | None, int]
"""A global name, its value or definition, and the line; None for a value that is not known from its text."""


def _bindings(statements: Iterable[ast.AST], *, always: bool = True) -> Iterator[_Binding]:
    """Yield what statements bind. Values are not known if they do not `always` run, such as below `if`."""
    for node in statements:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            value = node.value if always and not isinstance(node, ast.AugAssign) else None
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from _targets(target, value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node, node.lineno
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, None, node.lineno
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _bindings(ast.iter_child_nodes(node), always=False)


def _targets(target: ast.expr, value: ast.expr | None) -> Iterator[_Binding]:
    if isinstance(target, ast.Name):
        yield target.id, value, target.lineno
    elif isinstance(target, ast.Starred):
        yield from _targets(target.value, None)
    elif isinstance(target, ast.Tuple | ast.List):
        values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
        starred = any(isinstance(part, ast.Starred) for part in (*target.elts, *values))
        known = len(values) == len(target.elts) and not starred
        for element, element_value in zip(target.elts, values if known else repeat(None)):  # noqa: B905 - endless
            yield from _targets(element, element_value)


def _literal(value: ast.AST | None) -> Any:
    try:
        return _COMPUTED if value is None else ast.literal_eval(value)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return _COMPUTED


def _names(values: Mapping[str, Any], name: str, path: Path, database: str) -> tuple[str, ...]:
    value = values.get(name)
    is_collection = value is None or isinstance(value, tuple | list | set | frozenset)
    names = tuple(value or ()) if is_collection else (value,)
    if not all(isinstance(key, str) and key for key in names):
        raise TreeError(
            f"`{name}` in {path.name} is neither an id nor a tuple of ids",
            database=database,
            location=f"{path}:1",
            hint=f'write {name} = None, {name} = "id" or {name} = ("id", "id")',
        )
    return names


def _non_transactional_reason(code: Sequence[ast.AST], values: Mapping[str, Any]) -> str | None:
    """Return why the revision cannot share a transaction: its declaration, or a call that ends transactions.

    Text that only looks like a statement decides nothing; the server refuses what needs a declaration.
    """
    declared = values.get("transactional")
    assigned = _assigned(code)
    calls = (
        f"{name} in line {node.lineno}"
        for node, name in _calls(code)
        if name in _OWN_TRANSACTION_CALLS or (name == "commit" and _is_of_bind(node, assigned))
    )
    reason = next(calls, None)
    if declared is False:
        return reason or "it declares transactional = False"
    return f"{reason} (not declared: write `transactional = False`)" if reason and not declared else None


def _calls(code: Sequence[ast.AST]) -> Iterator[tuple[ast.Call, str | None]]:
    for node in code:
        if isinstance(node, ast.Call):
            yield node, getattr(node.func, "attr", None) or getattr(node.func, "id", None)


def _is_of_bind(call: ast.Call, assigned: Mapping[str, ast.expr]) -> bool:
    """Return whether a method of `op.get_bind()` is called, also by a name for it."""
    receiver = getattr(call.func, "value", None)
    if isinstance(receiver, ast.Name):
        receiver = assigned.get(receiver.id)
    return isinstance(receiver, ast.Call) and getattr(receiver.func, "attr", None) == "get_bind"


def _assigned(code: Sequence[ast.AST]) -> dict[str, ast.expr]:
    """Return the values that are assigned to names."""
    return {
        target.id: node.value
        for node in code
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _uses_helpers(code: Sequence[ast.AST]) -> bool:
    modules = [node.module or "" for node in code if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in code if isinstance(node, ast.Import) for alias in node.names]
    return not _KNOWN_PACKAGES.issuperset(module.partition(".")[0] for module in modules)


def _commit_after_reason(code: Sequence[ast.AST]) -> str | None:
    texts = _assigned(code)
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
