"""Which types PostgreSQL turns into each other without being told how."""

from __future__ import annotations

import re

_NUMBERS = {"smallint", "integer", "bigint", "numeric", "real", "double precision"}
_TEXTS = {"text", "character varying", "character"}
_TIMES = {"timestamp without time zone", "timestamp with time zone", "date"}
_CLOCKS = {"time without time zone", "time with time zone", "interval"}
_ASSIGNABLE = (_NUMBERS, _TEXTS, _TIMES, _CLOCKS, {"json", "jsonb"}, {"inet", "cidr"})


def base(type_: str) -> str:
    """A type without its length, precision and array brackets."""
    return re.sub(r"\(\d+(?:,-?\d+)?\)", "", type_).removesuffix("[]")


def using(column: str, before: str, after: str) -> str:
    """The USING clause a change of type needs, empty where an assignment does it.

    An explicit cast would cut values that are too long without a word; an assignment fails on them.
    """
    one, other = base(before), base(after)
    arrays = before.endswith("[]"), after.endswith("[]")
    if arrays[0] == arrays[1]:
        if one == other or any(one in family and other in family for family in _ASSIGNABLE):
            return ""
        if other in _TEXTS and not arrays[0]:
            return ""
    text = "text[]" if all(arrays) else "text"
    return f" USING {column}::{text}::{after}"


def comparable(before: str, after: str) -> bool:
    """Whether values of both types can be compared, as those of a foreign key's columns are."""
    one, other = base(before), base(after)
    return one == other or any(one in family and other in family for family in (_NUMBERS, _TEXTS))
