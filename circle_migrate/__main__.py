"""`python -m circle_migrate` and the console script `circle-migrate`."""

from __future__ import annotations

import gc
import os
import sys

_INTERRUPTED = 130
"""The exit status for Ctrl-C, here before anything is imported that names it."""


def main() -> None:
    """Run the command line; the process ends with its exit status."""
    _open_streams()
    # What importing modules makes stays: to look for garbage in it again and again only takes time.
    gc.set_threshold(200_000)
    try:
        from circle_migrate.cli.app import app

        app(prog_name="circle-migrate")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    finally:
        # Nor need the interpreter look for it at the end, which takes a sixth of the time of `status`.
        gc.disable()
        gc.freeze()


def _open_streams() -> None:
    """Python has None for a stream that was closed before; its number would go to the first connection."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - to the end


if __name__ == "__main__":
    main()
