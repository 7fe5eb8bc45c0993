"""The envelope of every result and error as JSON, as `commands/json_schema` describes it; without secrets."""

import json
import re
from collections.abc import Mapping
from typing import Any

from circle_migrate.core.errors import ExitCode, MigrateError
from circle_migrate.core.redaction import redact
from circle_migrate.core.result import SCHEMA_VERSION, Result

# What controls a terminal and prints as itself in JSON: C1, ends of lines, and the direction of text.
UNPRINTED = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
# With other control characters, except tabs and line ends, and what XML 1.0 does not allow.
CONTROL = rf"[\x00-\x08\x0b\x0c\x0e-\x1f{UNPRINTED}\ufffe\uffff]|\r(?!\n)"
# What inside strings controls a terminal, its direction of text, or a CI system, and JSON does not escape.
_ACTIVE = re.compile(rf"#(?=#\w*\[)|[{UNPRINTED}]")
_COMMAND = re.compile(r"(?m)((?:`|: |run |  |^)circle-migrate )(?=[a-z])")
"""The beginning of a command that a text asks to type."""
_ADVICE = ("hint", "remedy", "notes", "restore")
"""The keys of JSON whose texts ask to type commands; other texts are data."""
_environment: list[str] = []


def use_environment(name: str | None) -> None:
    """Let every command in a text have --env NAME: without it, it would reach other databases."""
    _environment[:] = [name] if name else []


def in_environment(text: str) -> str:
    """Return the text with the option of `use_environment` in the commands that it asks to type."""
    return _COMMAND.sub(rf"\1--env {_environment[0]} ", text) if _environment else text


def of_result(result: Result) -> dict[str, Any]:
    """Return the envelope with the keys of the result."""
    return _envelope(result.command, result.exit_code, None) | result.to_dict()


def of_failure(command: str, error: MigrateError) -> dict[str, Any]:
    """Return the envelope of a command without a result."""
    return _envelope(command, error.status, error)


def dump(value: Any, indent: int | None = 2) -> str:
    """Return the value as JSON without secrets; without an indent it is one line."""
    text = json.dumps(redact_values(value), indent=indent, ensure_ascii=False)
    return inert_json(text) + "\n"


def inert_json(text: str) -> str:
    """Return JSON with escapes for what controls a terminal or a CI system."""
    return _ACTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def redact_values(value: Any, *, is_advice: bool = False) -> Any:
    """Return the value with secrets removed from every string in it, at any depth."""
    if isinstance(value, str):
        return redact(in_environment(value) if is_advice else value)
    if isinstance(value, Mapping):
        return {key: redact_values(item, is_advice=key in _ADVICE) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(item, is_advice=is_advice) for item in value]
    return value


def _envelope(command: str, status: ExitCode, error: MigrateError | None) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "ok": status == ExitCode.DONE,
        "exit_code": int(status),
        "error": error.to_dict() if error else None,
    }
