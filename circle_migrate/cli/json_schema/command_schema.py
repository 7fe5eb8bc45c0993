"""Put together the JSON Schema of a command from the files of its definitions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from circle_migrate.core.errors import UsageError

_REFERENCE = "#/$defs/"


RESULTS: dict[str, tuple[str, ...]] = {
    "init": ("moved",),
    "upgrade": ("moved", "script"),
    "downgrade": ("moved", "script", "losses"),
    "plan": ("planned",),
    "recover": ("recovered",),
    "status": ("status",),
    "check": ("report",),
    "wait": ("report",),
    "current": ("currents",),
    "log": ("log", "source"),
    "history": ("listing",),
    "heads": ("listing",),
    "branches": ("listing",),
    "show": ("listing",),
    "diff": ("diff",),
    "snapshot": ("taken",),
    "consistency": ("consistency",),
    "graph": ("graph",),
    "safety-check": ("safety", "hazards"),
    "stats": ("stats",),
    "revision": ("written",),
    "merge": ("written",),
    "stamp": ("moved",),
    "backup": ("backed_up",),
    "restore": ("restored",),
    "kept list": ("kept",),
    "kept restore": ("kept",),
    "kept drop": ("kept",),
    "protect": ("protections",),
    "unprotect": ("protections",),
    "config show": ("configuration",),
    "dev start": ("server",),
    "dev stop": ("server",),
    "dev status": ("server",),
    "dev reset": ("server",),
    "dev snapshots": ("report",),
}
"""The definitions a command's result keeps to: one, or one of several where options ask for others."""


def schema(command: str) -> dict[str, Any]:
    """The schema of a command's output, in one piece. Raises `UsageError` for a command that has none."""
    if command not in RESULTS:
        raise UsageError(f"there is no schema for {command!r}", hint="one of: " + ", ".join(RESULTS))
    names = RESULTS[command]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"circle-migrate {command} --format json",
        "$ref": _REFERENCE + "envelope",
        "properties": {"command": {"const": command}},
        "if": {"properties": {"error": {"type": "null"}}},
        "then": {"anyOf": [{"$ref": _REFERENCE + name} for name in names]},
        "$defs": _definitions("envelope", *names),
    }


def _definitions(*names: str) -> dict[str, Any]:
    """The named definitions with all that they refer to."""
    found: dict[str, Any] = {}
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = json.loads(files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
            wanted += _references(found[name])
    return dict(sorted(found.items()))


def _references(value: Any) -> Iterator[str]:
    """The names of the definitions that a schema refers to."""
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "$ref":
                yield each.removeprefix(_REFERENCE)
            else:
                yield from _references(each)
