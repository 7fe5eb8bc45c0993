"""Type conversions that PostgreSQL performs without an explicit cast."""

from __future__ import annotations

import re

_NUMBERS = {"smallint", "integer", "bigint", "numeric", "real", "double precision"}
_STRINGS = {"text", "character varying", "character"}
_TIMESTAMPS = {"timestamp without time zone", "timestamp with time zone", "date"}
_TIMES = {"time without time zone", "time with time zone", "interval"}
_ASSIGNABLE = (_NUMBERS, _STRINGS, _TIMESTAMPS, _TIMES, {"json", "jsonb"}, {"inet", "cidr"})


def base_type(type_: str) -> str:
    """Return a type without its length, precision and array brackets."""
    return re.sub(r"\(\d+(?:,-?\d+)?\)", "", type_).removesuffix("[]")


def using(column: str, before: str, after: str) -> str:
    """Return the USING clause of a change of type, empty if an assignment cast exists.

    An explicit cast truncates strings that are too long without an error; an assignment fails.
    """
    old, new = base_type(before), base_type(after)
    arrays = before.endswith("[]"), after.endswith("[]")
    if arrays[0] == arrays[1]:
        if old == new or any({old, new} <= family for family in _ASSIGNABLE):
            return ""
        if new in _STRINGS and not arrays[0]:
            return ""
    text = "text[]" if all(arrays) else "text"
    return f" USING {column}::{text}::{after}"


def comparable(before: str, after: str) -> bool:
    """Return whether values of both types can be compared, as in a foreign key."""
    old, new = base_type(before), base_type(after)
    return old == new or any({old, new} <= family for family in (_NUMBERS, _STRINGS))
