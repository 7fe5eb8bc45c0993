"""JSON: one object with the same envelope for every result and error, as `cli/json_schema` describes it."""

import json
import re
from typing import Any

from circle_migrate.cli.formats.sanitize import UNPRINTED, redact_values
from circle_migrate.core.errors import ExitCode, MigrateError
from circle_migrate.core.result import SCHEMA_VERSION, Result

# What inside strings controls a terminal, its direction of text, or a CI system, and JSON does not escape.
_ACTIVE = re.compile(rf"#(?=#\w*\[)|[{UNPRINTED}]")


def write(result: Result) -> str:
    """Return the envelope with the keys of the result."""
    return dump(_envelope(result.command, result.exit_code, None) | result.to_dict())


def write_failure(command: str, error: MigrateError) -> str:
    """Return the envelope of a command without a result."""
    return dump(_envelope(command, error.status, error))


def dump(value: Any, indent: int | None = 2) -> str:
    """Return the value as JSON without secrets; without an indent it is one line."""
    text = json.dumps(redact_values(value), indent=indent, ensure_ascii=False)
    return inert_json(text) + "\n"


def inert_json(text: str) -> str:
    """Return JSON with escapes for what controls a terminal or a CI system."""
    return _ACTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _envelope(command: str, status: ExitCode, error: MigrateError | None) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "ok": status == ExitCode.DONE,
        "exit_code": int(status),
        "error": error.to_dict() if error else None,
    }
