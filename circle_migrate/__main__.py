"""`python -m circle_migrate` and the console script `circle-migrate`."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from circle_migrate.config.plugins import load_plugins_on_demand

_INTERRUPTED = 130
"""The exit status for Ctrl-C; `core.errors`, which has it too, may not be imported yet."""


def main() -> NoReturn:
    """Run the command line and end the process with its exit status."""
    _open_closed_streams()
    # Imported modules are never garbage, so a collection while they are imported only costs time.
    gc.set_threshold(200_000)
    # Alembic imports Mako, which imports pygments where it can, for tracebacks in HTML: a tenth of the time.
    sys.modules["mako.ext.pygmentplugin"] = None  # type: ignore[assignment]
    load_plugins_on_demand()
    status: str | int | None = None
    try:
        from circle_migrate.cli.app import app

        app(prog_name="circle-migrate")
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except SystemExit as end:
        status = end.code
    from circle_migrate.cli.streams import end_process

    end_process(status)


def _open_closed_streams() -> None:
    """Open the null device for a closed stream, whose descriptor a connection would get otherwise.

    That of stdout cannot be written to, so that a result that nobody gets is an error.
    """
    for name, flags, mode in (
        ("stdin", os.O_RDONLY, "r"),
        ("stdout", os.O_RDONLY, "w"),
        ("stderr", os.O_WRONLY, "w"),
    ):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)
            setattr(sys, name, open(descriptor, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - stays open


if __name__ == "__main__":
    main()
