"""`python -m circle_migrate` and the console script `circle-migrate`."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line; the process ends with its exit status."""
    # What importing modules makes stays: to look for garbage in it again and again only takes time.
    gc.set_threshold(50_000)
    from circle_migrate.cli.app import app

    try:
        app(prog_name="circle-migrate")
    finally:
        # Nor need the interpreter look for it at the end, which takes a sixth of the time of `status`.
        gc.disable()
        gc.freeze()


if __name__ == "__main__":
    main()
