"""`python -m circle_migrate` and the console script `circle-migrate`."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from typing import NoReturn

_INTERRUPTED = 130
"""The exit status for Ctrl-C; `core.errors`, which has it too, may not be imported yet."""


def main() -> NoReturn:
    """Run the command line and end the process with its exit status."""
    _open_closed_streams()
    # Imported modules are never garbage, so a collection while they are imported only costs time.
    gc.set_threshold(200_000)
    status: str | int | None = None
    try:
        from circle_migrate.cli.app import app

        app(prog_name="circle-migrate")
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except SystemExit as end:
        status = end.code
    _end(status)


def _end(status: str | int | None) -> NoReturn:
    """End the process as `sys.exit` does, without deleting all objects, which takes a fortieth of `status`.

    Functions of `atexit` run, and a thread or a profiler that is at work is waited for.
    """
    if not isinstance(status, int) or threading.active_count() > 1 or _is_observed():
        sys.exit(status)
    atexit._run_exitfuncs()  # there is no public function for it
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)
    os._exit(status)


def _is_observed() -> bool:
    """Return whether a debugger, a profiler or a coverage tool is at work; they report at the end."""
    monitoring = getattr(sys, "monitoring", None)  # since Python 3.12
    tools = monitoring and any(map(monitoring.get_tool, range(6)))
    return bool(tools or sys.gettrace() or sys.getprofile())


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
