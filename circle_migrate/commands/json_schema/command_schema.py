"""Compose the JSON Schema of a command from the files of its definitions.

An object in a file requires all its properties, unless it says itself which it requires.
"""

import json
import re
from importlib.resources import files
from typing import Any

from circle_migrate.core.errors import UsageError

_REFERENCE = "#/$defs/"
_EVENTS = "events"

RESULTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("init", "stamp"), ("migration",)),
    "upgrade": ("migration", "script"),
    "downgrade": ("migration", "script", "losses"),
    "plan": ("plan_result",),
    "recover": ("recovery",),
    "status": ("status",),
    **dict.fromkeys(("check", "wait", "dev snapshots"), ("report",)),
    "current": ("current_revisions",),
    "log": ("log", "source"),
    **dict.fromkeys(("history", "heads", "branches", "show"), ("listing",)),
    "diff": ("diff",),
    "snapshot": ("snapshots",),
    "consistency": ("consistency",),
    "graph": ("graph",),
    "safety-check": ("safety", "hazards"),
    "stats": ("stats",),
    "metrics": ("metrics",),
    **dict.fromkeys(("revision", "merge"), ("revision_files",)),
    "squash": ("squash",),
    "rebase": ("rebase",),
    **dict.fromkeys(("backup", "backup verify"), ("backup_result",)),
    **dict.fromkeys(("backup list", "backup prune"), ("backup_list",)),
    "restore": ("restore_result",),
    **dict.fromkeys(("kept list", "kept restore", "kept drop"), ("kept_entries",)),
    **dict.fromkeys(("protect", "unprotect"), ("protections",)),
    "adopt": ("adoption",),
    "accept-drift": ("accepted_drift",),
    "config show": ("configuration",),
    **dict.fromkeys(("dev start", "dev stop", "dev status", "dev reset"), ("server",)),
}
"""The definitions of a command's results; it has several if options select the result."""


def schema(command: str) -> dict[str, Any]:
    """Return the schema of a command's output, or of `events`. Raises `UsageError` for any other name."""
    if command == _EVENTS:
        return {
            "title": "circle-migrate --events FILE",
            "$ref": _REFERENCE + "event",
            "$defs": _definitions("event"),
        }
    if command not in RESULTS:
        raise UsageError(
            f"there is no schema for {command!r}", hint="commands: " + ", ".join((*RESULTS, _EVENTS))
        )
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
    """Return the named definitions with all definitions that they refer to."""
    definitions: dict[str, Any] = {}
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in definitions:
            text = files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8")
            definitions[name] = json.loads(text, object_hook=_require_properties)
            pending += re.findall(f'"{re.escape(_REFERENCE)}(.+?)"', text)
    return dict(sorted(definitions.items()))


def _require_properties(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object that requires all its properties, unless it says which it requires."""
    return {"required": list(value["properties"]), **value} if "properties" in value else value
