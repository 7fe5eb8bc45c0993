"""Consoles: rich on a terminal, plain lines without importing rich elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

_NO_LIMIT = 10_000
"""Columns of a console that writes to a pipe, so that lines are never truncated."""


class PlainConsole:
    """The part of rich's Console that renderers use where nothing is drawn."""

    is_terminal = False

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def print(self, text: str, **_: object) -> None:
        """Write a line without style."""
        self.file.write(f"{text}\n")


def is_terminal(file: TextIO) -> bool:
    """Return whether rich draws tables or colours: on a terminal, and with FORCE_COLOR anywhere."""
    return file.isatty() or bool(os.environ.get("FORCE_COLOR"))


def console(file: TextIO) -> Console:
    """Return a console for the file. Rich honours NO_COLOR and FORCE_COLOR."""
    if not is_terminal(file):
        return cast("Console", PlainConsole(file))
    from rich.console import Console

    width = None if file.isatty() else _NO_LIMIT
    return Console(file=file, width=width, highlight=False, soft_wrap=not file.isatty(), emoji=False)
