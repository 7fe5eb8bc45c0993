"""Add settings to a pyproject.toml, which keeps its comments and its order."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from circle_migrate.core.errors import UsageError


def add_settings(
    text: str,
    shared: Mapping[str, Any],
    databases: Mapping[str, Mapping[str, Any]],
    comments: Mapping[str, str],
) -> str:
    """Return the text with settings of [tool.circle-migrate] and of databases; keys that it has stay.

    Each new database gets a comment. Raises `UsageError` if the file cannot be changed in this way.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    try:
        lines = text.replace("\r\n", "\n")
        document = tomlkit.parse(lines if lines.endswith("\n") or not lines else f"{lines}\n")
        own = _table(_table(document, "tool"), "circle-migrate")
        for key, value in shared.items():
            own.setdefault(key, value)
        tables = _table(own, "databases")
        new = [name for name in databases if name not in tables]
        for name, settings in databases.items():
            if name in new:
                tables[name] = tomlkit.table()
                tables[name].add(tomlkit.comment(comments[name]))
            for key, value in settings.items():
                tables[name].setdefault(key, value)
            if name in new[-1:]:  # another table may follow
                tables[name].add(tomlkit.nl())
        changed = tomlkit.dumps(document)
        if changed.endswith("\n\n") and not lines.endswith("\n\n"):
            changed = changed[:-1]
        after = tomllib.loads(changed)
    except (TOMLKitError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            "the settings cannot be added to pyproject.toml", detail=str(error), state="nothing was changed"
        ) from None
    wanted = {"tool": {"circle-migrate": {**shared, "databases": databases}}}
    if _merged(wanted, tomllib.loads(text)) != after:
        raise UsageError(
            "the settings cannot be added to pyproject.toml without other changes",
            state="nothing was changed",
            hint="write an empty table [tool.circle-migrate] at its end",
        )
    return changed.replace("\n", newline)


def difference(before: str, after: str) -> str:
    """Return the change as a unified diff."""
    lines = unified_diff(
        before.splitlines(), after.splitlines(), "a/pyproject.toml", "b/pyproject.toml", lineterm=""
    )
    return "\n".join(lines)


def _table(parent: Any, key: str) -> Any:
    """Return a table; a new one has no header of its own while it has only tables."""
    if key not in parent:
        parent[key] = tomlkit.table(is_super_table=True)
    return parent[key]


def _merged(wanted: Mapping[str, Any], existing: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables with the keys of both; those that exist stay."""
    both = {key for key in wanted.keys() & existing.keys() if isinstance(existing[key], dict)}
    return {**wanted, **existing, **{key: _merged(wanted[key], existing[key]) for key in both}}
