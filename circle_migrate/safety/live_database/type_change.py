"""Conditions on a column's values that show whether a change of its type fails or alters values.

ALTER COLUMN … TYPE converts by assignment, or by an expression after USING that the catalogue does not keep.
Of such expressions only chains of casts of the column itself are checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from circle_migrate.postgres.identifier import literal, unquote_and_fold
from circle_migrate.safety.live_database.parse_definition import Token, split_items, tokenize, without_spaces
from circle_migrate.safety.live_database.probe_context import count_query
from circle_migrate.safety.live_database.record import ProbeKind

OWN_EXPRESSION = "the revision converts the values with an expression of its own"

_TYPE = re.compile(r"(?P<base>.*?)(?:\((?P<arguments>[\d, -]+)\))?(?P<rest>(?: with(?:out)? time zone)?)")
_CAST_CALL = re.compile(r"CAST \( (?P<inner>.*) AS (?P<type>.*) \)", re.IGNORECASE)
_VARYING, _PADDED = "character varying", "character"
_UNLIMITED = frozenset({"text", _VARYING})
_TEXTS = frozenset({"text", _VARYING, _PADDED, "name", "citext"})
_BITS = frozenset({"bit", "bit varying"})
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_TIMES = frozenset(
    {"date", *(f"{type_} with{out} time zone" for type_ in ("timestamp", "time") for out in ("", "out"))}
)
_ALL_FIT: Mapping[str, frozenset[str]] = {
    "smallint": frozenset({"integer", "bigint", "numeric", "real", "double precision"}),
    "integer": frozenset({"bigint", "numeric", "double precision"}),
    "bigint": frozenset({"numeric"}),
    "real": frozenset({"double precision"}),
    "date": frozenset({"timestamp without time zone", "timestamp with time zone"}),
    "timestamp without time zone": frozenset({"timestamp with time zone"}),
    "timestamp with time zone": frozenset({"timestamp without time zone"}),
    "jsonb": frozenset({"json"}),
}
"""Types, and the types without limits that hold all their values."""


@dataclass(frozen=True, slots=True)
class Type:
    """A type as `format_type` prints it: its name, and the limits in brackets."""

    base: str
    limits: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Type:
        """Parse a printed type; one of another shape has no limits."""
        match = _TYPE.fullmatch(text)
        if match is None or not match["arguments"]:
            return cls(text)
        return cls(match["base"] + match["rest"], tuple(map(int, match["arguments"].split(","))))


class ConversionCheck(NamedTuple):
    """A query for the values that a conversion rejects or alters; where there is none, `unknown` says why."""

    kind: ProbeKind
    query: str = ""
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A change of the type of a column by the statement `sql`; `relation` and `value` are live names.

    `labels` are those of enumerations that the plan has created or changed, by type.
    """

    relation: str
    value: str
    name: str
    old: str
    new: str
    sql: str
    labels: Mapping[str, tuple[str, ...]]

    def checks(self) -> Iterator[ConversionCheck]:
        """Yield the checks of the values; none where every value fits."""
        using = using_expression(self.name, self.sql)
        casts = None if using is None else cast_types(self.name, using)
        if using is not None and casts is None:
            yield ConversionCheck(ProbeKind.UNCASTABLE, unknown=OWN_EXPRESSION)
            return
        value, old, new = self.value, Type.parse(self.old), Type.parse(self.new)
        relation = self.relation
        as_text = old.base.rpartition(".")[2] in _TEXTS or bool(casts and casts[0].lower() in _UNLIMITED)
        if self.new in self.labels and (as_text or self.old in self.labels):
            removed = f"{value}::text NOT IN ({', '.join(map(literal, self.labels[self.new]))})"
            yield ConversionCheck(ProbeKind.UNCASTABLE, count_query(relation, removed))
        elif new.base in {_VARYING, _PADDED} and new.limits:
            if old.base in {_VARYING, _PADDED} and old.limits and old.limits <= new.limits:
                return
            # Trailing spaces are removed; of longer values assignment fails and a cast truncates.
            too_long = f"pg_catalog.char_length(pg_catalog.rtrim({value}::text)) > {new.limits[0]}"
            kind = ProbeKind.TOO_LONG if using is None else ProbeKind.CUT
            yield ConversionCheck(kind, count_query(relation, too_long))
        elif new.base in _UNLIMITED or _fits(old, new):
            return
        elif {old.base, new.base} & _BITS:
            yield ConversionCheck(ProbeKind.TOO_LONG, unknown="the length of bit strings is not checked")
        elif as_text:
            invalid = f"NOT pg_catalog.pg_input_is_valid({value}::text, {literal(self.new)})"
            yield ConversionCheck(ProbeKind.UNCASTABLE, count_query(relation, invalid))
        else:
            # The query casts all values, as it counts the results, and fails if the cast fails for one.
            cast = f"({value})::{self.new}"
            yield ConversionCheck(ProbeKind.UNCASTABLE, f"SELECT count({cast}) * 0 FROM {relation}")
            if {old.base, new.base} <= _NUMBERS or {old.base, new.base} <= _TIMES:
                differs = f"({cast})::{self.old} IS DISTINCT FROM {value}"
                yield ConversionCheck(ProbeKind.CUT, count_query(relation, differs))


def _fits(old: Type, new: Type) -> bool:
    """Return whether the new type holds every value of the old one."""
    if old.base == new.base:
        if old.base == "numeric" and old.limits and new.limits:
            (old_digits, old_scale), (digits, scale) = old.limits, new.limits
            return scale >= old_scale and digits - scale >= old_digits - old_scale
        return not new.limits or bool(old.limits and old.limits <= new.limits)
    return not new.limits and new.base in _ALL_FIT.get(old.base, ())


def using_expression(column: str, sql: str) -> str | None:
    """Return the USING expression for a column's new type in a statement; None where there is none.

    Where a statement that is not ALTER TABLE has USING, its whole text is returned.
    """
    tokens = without_spaces(tokenize(sql))
    keywords = [token.text.upper() for token in tokens]
    if keywords[:2] != ["ALTER", "TABLE"]:
        return sql if re.search(r"\bUSING\b", sql, re.IGNORECASE) else None
    for action in split_items(tokens, ",;"):
        keywords = [token.text.upper() for token in action]
        if "TYPE" not in keywords or "USING" not in keywords:
            continue
        if any(_is_column(token, column) for token in action[: keywords.index("TYPE")]):
            return " ".join(token.text for token in action[keywords.index("USING") + 1 :])
    return None


def cast_types(column: str, expression: str) -> tuple[str, ...] | None:
    """Return the types that an expression casts a column to, in order; None for any other expression."""
    expression = expression.strip()
    if match := _CAST_CALL.fullmatch(expression):
        inner = cast_types(column, match["inner"])
        return None if inner is None else (*inner, match["type"].strip())
    tokens = without_spaces(tokenize(expression))
    texts = [token.text for token in tokens]
    last = max((at for at, token in enumerate(tokens) if (token.text, token.depth) == ("::", 0)), default=-1)
    if last >= 0:
        inner = cast_types(column, " ".join(texts[:last]))
        return None if inner is None else (*inner, " ".join(texts[last + 1 :]))
    if texts and (texts[0], texts[-1]) == ("(", ")"):
        return cast_types(column, " ".join(texts[1:-1]))
    return () if len(tokens) == 1 and _is_column(tokens[0], column) else None


def _is_column(token: Token, column: str) -> bool:
    return token.kind == "name" and unquote_and_fold(token.text) == unquote_and_fold(column)
