"""`python -m circle_migrate` and the console script `circle-migrate`."""

from __future__ import annotations

import gc
import os
import sys

_INTERRUPTED = 130
_USAGE = 2
"""Exit statuses; `core.errors`, which has them too, may not be imported yet."""


def main() -> None:
    """Run the command line and end the process with its exit status."""
    _open_closed_streams()
    # Imported modules are never garbage, so a collection while they are imported only costs time.
    gc.set_threshold(200_000)
    try:
        from circle_migrate.cli.app import app

        app(prog_name="circle-migrate")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except OSError as error:  # of --help and --version; a command's own errors do not come here
        sys.stderr.write(f"error: the text cannot be written to stdout: {error.strerror}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries to write it again at exit
        sys.exit(_USAGE)
    finally:
        # The collection at exit takes a sixth of the time of `status`.
        gc.disable()
        gc.freeze()


def _open_closed_streams() -> None:
    """Open the null device for a closed stream, whose descriptor a connection would get otherwise."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - stays open


if __name__ == "__main__":
    main()
