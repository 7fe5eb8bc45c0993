"""`python -m circle_migrate` and the console script `circle-migrate`."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the process ends with its exit status."""
    from circle_migrate.cli.app import app

    app(prog_name="circle-migrate")


if __name__ == "__main__":
    main()
