"""The options of commands that judge what is pending."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

_SIZES = "What is large"


class Gate(StrEnum):
    """What an upgrade does about hazards of what is pending: nothing, say it, or refuse dangers."""

    OFF = "off"
    WARN = "warn"
    REQUIRE = "require"


JUDGING: dict[str, Any] = {
    "safety": Annotated[
        Gate | None,
        typer.Option(
            help="Judge what is pending first: say what is dangerous, or refuse it.",
            rich_help_panel="Run",
            show_default="warn",
        ),
    ],
    "safety_rows": Annotated[
        int | None,
        typer.Option(
            "--rows",
            metavar="N",
            min=0,
            help="So many rows make a table large.",
            rich_help_panel=_SIZES,
            show_default="10000",
        ),
    ],
    "safety_bytes": Annotated[
        int | None,
        typer.Option(
            "--bytes",
            metavar="N",
            min=0,
            help="So many bytes do, too.",
            rich_help_panel=_SIZES,
            show_default="52428800",
        ),
    ],
}

THRESHOLDS = ("safety_rows", "safety_bytes")
"""Those of them that say what is large."""
