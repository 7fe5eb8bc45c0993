"""What is written to: rich where there is a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 10_000
"""Columns of a terminal that is none: lines in a pipe are never cut."""


class _Lines:
    """What stands for rich's Console where nothing is drawn, so that rich need not be imported."""

    is_terminal = False

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def print(self, text: str, **_: object) -> None:
        """Write a line as it is; what it would look like on a terminal does not matter."""
        self.file.write(f"{text}\n")

    def out(self, text: str) -> None:
        """Write a line, likewise."""
        self.print(text)


def is_terminal(file: TextIO) -> bool:
    """Whether rich has something to do there: tables and colours on a terminal, or colours by FORCE_COLOR."""
    return file.isatty() or bool(os.environ.get("FORCE_COLOR"))


def console(file: TextIO) -> Console:
    """A console that draws on a terminal and writes plain lines, never cut, anywhere else.

    NO_COLOR and FORCE_COLOR are honoured by rich.
    """
    if not is_terminal(file):
        return cast("Console", _Lines(file))
    from rich.console import Console

    width = None if file.isatty() else _WIDE
    return Console(file=file, width=width, highlight=False, soft_wrap=not file.isatty(), emoji=False)
