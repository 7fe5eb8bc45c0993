"""Formatting of byte counts."""

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def format_bytes(size: int) -> str:
    """Return the size in the largest unit that fits; as in PostgreSQL, 1 kB is 1024 bytes."""
    number, unit = float(size), 0
    while abs(number) >= 1024 and unit + 1 < len(_UNITS):
        number, unit = number / 1024, unit + 1
    return f"{number:.{min(unit, 1)}f} {_UNITS[unit]}"
