"""Rewrite the parent in a revision file: `down_revision` and the line `Revises:`; nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from circle_migrate.core.errors import Refused, SettingsError

if TYPE_CHECKING:
    import libcst

    from circle_migrate.revision_graph.revision import Revision

_REVISES = re.compile(r"(?m)^([ \t]*Revises:[ \t]*)([^\r\n]*?)([ \t]*\r?)$")


def with_parent(content: bytes, revision: Revision, before: Sequence[str], parent: str) -> bytes:
    """Return the content of the file with another parent.

    Raises `Refused` where the file computes `down_revision` or assigns it more than once, `SettingsError`
    without libcst.
    """
    try:
        import libcst
    except ImportError as error:
        raise SettingsError(
            "rewriting a revision file needs libcst, which is not installed",
            detail=str(error),
            state="nothing was written",
            hint="run pip install 'circle-migrate[rebase]'",
        ) from error
    module = libcst.parse_module(content)
    values = _values(module)
    if module.bytes != content or len(values) != 1 or not _is_literal(values[0]):
        raise Refused(
            f"{revision.database}: `down_revision` of {revision.id} is not one literal, and stays as it is",
            database=revision.database,
            location=revision.location,
            hint=f'write down_revision = "{parent}" by hand',
        )
    quote = _quote(values[0])
    literal = libcst.SimpleString(f"{quote}{parent}{quote}", **_parentheses(values[0]))
    module = _replaced(module, values[0], literal)
    docstring = _docstring(module)
    if docstring is not None:
        text = _REVISES.sub(lambda match: _revises(match, before, parent), docstring.value)
        module = _replaced(module, docstring, docstring.with_changes(value=text))
    return module.bytes


def _replaced(module: libcst.Module, old: libcst.CSTNode, new: libcst.CSTNode) -> libcst.Module:
    changed: Any = module
    return cast("libcst.Module", changed.deep_replace(old, new))


def _parentheses(value: libcst.BaseExpression) -> dict[str, Any]:
    """Return the parentheses around a value; those of a tuple belong to it."""
    import libcst

    is_tuple = isinstance(value, libcst.Tuple | libcst.List)
    return {} if is_tuple else {"lpar": value.lpar, "rpar": value.rpar}


def _revises(match: re.Match[str], before: Sequence[str], parent: str) -> str:
    """Return the line with the parent, unless it is about something else."""
    names = re.split(r"[,\s]+", match[2]) if match[2] else []
    is_known = not names or set(names) <= {*before, "None"} or len(names) == 1
    return (
        f"{match[1] if match[1][-1].isspace() else match[1] + ' '}{parent}{match[3]}"
        if is_known
        else match[0]
    )


def _values(module: libcst.Module) -> list[libcst.BaseExpression]:
    """Return what the module assigns to `down_revision`."""
    import libcst

    values = []
    for line in module.body:
        for statement in line.body if isinstance(line, libcst.SimpleStatementLine) else ():
            names: list[libcst.BaseExpression] = []
            if isinstance(statement, libcst.Assign):
                names = [target.target for target in statement.targets]
            elif isinstance(statement, libcst.AnnAssign):
                names = [statement.target]
            is_parent = any(isinstance(name, libcst.Name) and name.value == "down_revision" for name in names)
            if is_parent and isinstance(statement, libcst.Assign | libcst.AnnAssign) and statement.value:
                values.append(statement.value)
    return values


def _is_literal(value: libcst.BaseExpression) -> bool:
    import libcst

    if isinstance(value, libcst.Tuple | libcst.List):
        return len(value.elements) == 1 and _is_literal(value.elements[0].value)
    return isinstance(value, libcst.SimpleString) or (
        isinstance(value, libcst.Name) and value.value == "None"
    )


def _quote(value: libcst.BaseExpression) -> str:
    import libcst

    if isinstance(value, libcst.Tuple | libcst.List):
        return _quote(value.elements[0].value)
    return value.quote if isinstance(value, libcst.SimpleString) else '"'


def _docstring(module: libcst.Module) -> libcst.SimpleString | None:
    import libcst

    first = module.body[0] if module.body else None
    if isinstance(first, libcst.SimpleStatementLine):
        statement = first.body[0]
        if isinstance(statement, libcst.Expr) and isinstance(statement.value, libcst.SimpleString):
            return statement.value
    return None
