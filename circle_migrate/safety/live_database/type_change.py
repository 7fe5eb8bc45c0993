"""What to ask of a column's values before its type changes.

ALTER COLUMN … TYPE converts by assignment, or by an expression after USING that the catalogue does not keep.
Of such expressions only chains of casts of the column itself are asked about: whatever else a revision
computes is its own. Values are never shown, only counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from circle_migrate.postgres.identifier import literal, unquote_and_fold
from circle_migrate.safety.live_database.parse_definition import listed, tokens
from circle_migrate.safety.live_database.record import ProbeKind

OWN_EXPRESSION = "the conversion is the revision's own expression"

_TYPE = re.compile(r"(?P<base>.*?)(?:\((?P<arguments>[\d, -]+)\))?(?P<rest>(?: with(?:out)? time zone)?)")
_VARYING, _PADDED = "character varying", "character"
_UNLIMITED = frozenset({"text", _VARYING})
_TEXTS = frozenset({"text", _VARYING, _PADDED, "name", "citext"})
_BITS = frozenset({"bit", "bit varying"})
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_TIMES = frozenset(
    {"date", *(f"{each} with{out} time zone" for each in ("timestamp", "time") for out in ("", "out"))}
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
"""Types, and the types without limits that hold every value of theirs."""


@dataclass(frozen=True, slots=True)
class Type:
    """A type as `format_type` prints it: its name, and the limits in brackets."""

    base: str
    limits: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Type:
        """The type of a printed text; one that is not of the usual shape has no limits."""
        match = _TYPE.fullmatch(text)
        if match is None or not match["arguments"]:
            return cls(text)
        limits = tuple(int(each) for each in match["arguments"].split(","))
        return cls(match["base"] + match["rest"], limits)


@dataclass(frozen=True, slots=True)
class Doubt:
    """What may go wrong with values: `condition` holds for those, or `cast` fails for one.

    Where neither can be said, `unknown` says why.
    """

    ask: ProbeKind
    condition: str = ""
    cast: str = ""
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A column `value`, as SQL of the live database, that changes its type by the statement `sql`.

    `labels` are those of enumerations that the plan has made or changed, by type.
    """

    value: str
    name: str
    old: str
    new: str
    sql: str
    labels: Mapping[str, tuple[str, ...]]

    def doubts(self) -> Iterator[Doubt]:
        """What to ask; nothing where every value fits."""
        using = expression_of(self.name, self.sql)
        chain = None if using is None else casts_of(self.name, using)
        if using is not None and chain is None:
            yield Doubt(ProbeKind.UNCASTABLE, unknown=OWN_EXPRESSION)
            return
        old, new = Type.parse(self.old), Type.parse(self.new)
        as_text = old.base.rpartition(".")[2] in _TEXTS or bool(chain and chain[0].lower() in _UNLIMITED)
        if self.new in self.labels and (as_text or self.old in self.labels):
            yield self._not_among(self.labels[self.new])
        elif new.base in {_VARYING, _PADDED} and new.limits:
            yield from self._longer(old, new, explicit=using is not None)
        elif new.base in _UNLIMITED or _fits(old, new):
            return
        elif {old.base, new.base} & _BITS:
            yield Doubt(ProbeKind.TOO_LONG, unknown="the length of bit strings is not asked")
        elif as_text:
            test = f"NOT pg_catalog.pg_input_is_valid({self.value}::text, {literal(self.new)})"
            yield Doubt(ProbeKind.UNCASTABLE, test)
        else:
            yield Doubt(ProbeKind.UNCASTABLE, cast=f"({self.value})::{self.new}")
            if {old.base, new.base} <= _NUMBERS or {old.base, new.base} <= _TIMES:
                again = f"(({self.value})::{self.new})::{self.old}"
                yield Doubt(ProbeKind.CUT, f"{again} IS DISTINCT FROM {self.value}")

    def _not_among(self, labels: tuple[str, ...]) -> Doubt:
        listed = ", ".join(map(literal, labels))
        return Doubt(ProbeKind.UNCASTABLE, f"{self.value}::text NOT IN ({listed})")

    def _longer(self, old: Type, new: Type, *, explicit: bool) -> Iterator[Doubt]:
        """Values that are too long but for spaces: assignment refuses them, a cast cuts them."""
        if old.base in {_VARYING, _PADDED} and old.limits and old.limits <= new.limits:
            return
        test = f"pg_catalog.char_length(pg_catalog.rtrim({self.value}::text)) > {new.limits[0]}"
        yield Doubt(ProbeKind.CUT if explicit else ProbeKind.TOO_LONG, test)


def _fits(old: Type, new: Type) -> bool:
    """Whether every value of the old type is one of the new type."""
    if old.base == new.base:
        if old.base == "numeric" and old.limits and new.limits:
            (old_digits, old_scale), (digits, scale) = old.limits, new.limits
            return scale >= old_scale and digits - scale >= old_digits - old_scale
        return not new.limits or bool(old.limits and old.limits <= new.limits)
    return not new.limits and new.base in _ALL_FIT.get(old.base, ())


def expression_of(column: str, sql: str) -> str | None:
    """The USING expression for a column's new type in a statement; None where there is none.

    Where the statement is no ALTER TABLE and says USING, its whole text is taken for the expression.
    """
    found = [token for token in tokens(sql) if token.kind != "space"]
    words = [token.text.upper() for token in found]
    if "USING" not in words or words[:2] != ["ALTER", "TABLE"]:
        return (
            sql if re.search(r"\bUSING\b", sql, re.IGNORECASE) and words[:2] != ["ALTER", "TABLE"] else None
        )
    for action in listed(found, ",;"):
        upper = [token.text.upper() for token in action]
        if "TYPE" not in upper or "USING" not in upper:
            continue
        named = action[: upper.index("TYPE")]
        if any(
            token.kind == "name" and unquote_and_fold(token.text) == unquote_and_fold(column)
            for token in named
        ):
            return " ".join(token.text for token in action[upper.index("USING") + 1 :])
    return None


_CAST_CALL = re.compile(r"CAST \( (?P<inner>.*) AS (?P<type>.*) \)", re.IGNORECASE)


def casts_of(column: str, expression: str) -> tuple[str, ...] | None:
    """The types that an expression casts a column to, one after the other; None for any other expression."""
    expression = expression.strip()
    if match := _CAST_CALL.fullmatch(expression):
        inner = casts_of(column, match["inner"])
        return None if inner is None else (*inner, match["type"].strip())
    found = [token for token in tokens(expression) if token.kind != "space"]
    at = next(
        (i for i in range(len(found) - 1, -1, -1) if found[i].text == "::" and found[i].depth == 0), None
    )
    if at is not None:
        inner = casts_of(column, " ".join(token.text for token in found[:at]))
        return None if inner is None else (*inner, " ".join(token.text for token in found[at + 1 :]))
    if found and found[0].text == "(" and found[-1].text == ")":
        return casts_of(column, " ".join(token.text for token in found[1:-1]))
    if (
        len(found) == 1
        and found[0].kind == "name"
        and unquote_and_fold(found[0].text) == unquote_and_fold(column)
    ):
        return ()
    return None
