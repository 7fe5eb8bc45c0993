"""Results to stdout, errors and progress to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from circle_migrate.cli.call import Format
from circle_migrate.core.result import SCHEMA_VERSION
from circle_migrate.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.core.result import Result
    from circle_migrate.errors import CircleError

_PLAIN_WIDTH = 10_000


def console(file: TextIO) -> Console:
    """A console that draws on a terminal and writes plain lines, never cut, anywhere else.

    NO_COLOR and FORCE_COLOR are honoured by rich.
    """
    from rich.console import Console

    width = None if file.isatty() else _PLAIN_WIDTH
    return Console(file=file, width=width, highlight=False, soft_wrap=not file.isatty(), emoji=False)


def success(result: Result, form: Format) -> None:
    """Write a result to stdout; a reader that has gone away is none of the command's business."""
    try:
        if form is Format.JSON:
            _write_json(
                {"ok": result.exit_code == 0, "exit_code": int(result.exit_code), "error": None}, result
            )
        else:
            from circle_migrate.render import render

            render(result, console(sys.stdout))
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich turns the one into the other
        # What remains in Python's buffer would raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_json(head: Mapping[str, Any], result: Result) -> None:
    shown = {"schema_version": SCHEMA_VERSION, "command": result.command, **head, **result.to_dict()}
    sys.stdout.write(json.dumps(_redacted(shown), indent=2, ensure_ascii=False) + "\n")


def failure(error: CircleError, command: str, form: Format) -> None:
    """Write an error: for people to stderr, and with `--format json` as an object to stdout too."""
    if form is Format.JSON:
        shown = {
            "schema_version": SCHEMA_VERSION,
            "command": command,
            "ok": False,
            "exit_code": int(error.status),
            "error": error.to_dict(),
        }
        sys.stdout.write(json.dumps(_redacted(shown), indent=2, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    for line in _lines(error):
        sys.stderr.write(redact(line) + "\n")
    sys.stderr.flush()


def _lines(error: CircleError) -> list[str]:
    parts = [
        ("  at     ", _relative(error.location)),
        ("  server " if "SQLSTATE" in (error.detail or "") else "  cause  ", error.detail),
        ("  state  ", error.state),
        ("  hint   ", error.hint),
    ]
    message = f"error: {error.message}"
    indented = (label + str(text).replace("\n", "\n         ") for label, text in parts if text)
    return [message, *indented]


def _relative(location: str | None) -> str | None:
    here = os.getcwd() + os.sep  # noqa: PTH109 - a prefix to cut, not a path to use
    return location.removeprefix(here) if location else None


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _redacted(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(each) for each in value]
    return value


def progress_line(text: str) -> None:
    """One line about what is going on, to stderr."""
    sys.stderr.write(redact(text) + "\n")
    sys.stderr.flush()
