"""Check which routine gets the calls of another one: by its name, arguments, defaults and result."""

from collections.abc import Iterator
from dataclasses import dataclass

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.sql_text import compile_pattern
from circle_migrate.safety.live_database.definitions import split_items, tokenize
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import CatalogState, StatementContext

ROUTINES = frozenset({"function", "procedure", "aggregate", "window function"})
"""Kinds of objects that are called."""

_RETURNS = compile_pattern(r"\n RETURNS (.*?)\n")
_OUTPUT = compile_pattern(r"(?:IN)?OUT\b")
_MODE = compile_pattern(r"(?:INOUT|IN|VARIADIC)\s+")


_STRINGS = frozenset({"text", "character varying", "character", "name"})
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_TIMES = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})
_PREFERRED = {"double precision": _NUMBERS, "timestamp with time zone": _TIMES, "inet": {"cidr"}}


@dataclass(frozen=True, slots=True)
class Signature:
    """The types and names of a routine's input arguments, how many have defaults, and what it returns."""

    types: tuple[str, ...]
    names: tuple[str, ...]
    optional: int
    returned: tuple[str, ...]

    @classmethod
    def of(cls, catalog: CatalogState, routine: ObjectKey) -> "Signature":
        """Return the signature of a routine; an aggregate has no definition, so that only types are known."""
        definition = catalog[routine].get("definition") or ""
        printed = definition.partition("\n")[0].partition("(")[2].removesuffix(")")
        arguments = ["".join(token.text for token in item).strip() for item in split_items(tokenize(printed))]
        types = tuple(filter(None, routine.identity.partition("(")[2][:-1].split(", ")))
        given = [_MODE.sub("", text, 1) for text in arguments if not text.startswith("OUT ")]
        named = (
            text.partition(" DEFAULT ")[0].removesuffix(kind)
            for text, kind in zip(given, types, strict=False)
        )
        outputs = filter(_OUTPUT.match, arguments)
        result = _RETURNS.search(definition)
        optional = sum(" DEFAULT " in text for text in given)
        return cls(types, tuple(map(str.strip, named)), optional, (result[1] if result else "", *outputs))

    def accepts(self, old: "Signature") -> bool:
        """Return whether calls of another routine, by the position of arguments, get the same result."""
        required = len(self.types) - self.optional <= len(old.types) - old.optional
        return required and self.types[: len(old.types)] == old.types and self.returned == old.returned

    def gets_untyped(self, old: "Signature") -> bool:
        """Return whether this routine gets calls of the old one that have untyped literals, or competes."""
        pairs = [pair for pair in zip(old.types, self.types, strict=False) if pair[0] != pair[1]]
        required = [len(each.types) - each.optional for each in (old, self)]
        fits = max(required) <= min(len(old.types), len(self.types))
        return fits and bool(pairs) and all(_competes(*pair) for pair in pairs)

    def renames(self, old: "Signature") -> bool:
        """Return whether a call of another routine that names an argument fails."""
        return any(a and a != b for a, b in zip(old.names, self.names, strict=False))


def _competes(old: str, new: str) -> bool:
    """Return whether an untyped literal for an argument may become one of the new type.

    A string type is chosen first, and then the preferred type of a category
    (https://www.postgresql.org/docs/current/typeconv-func.html). Numbers and booleans are no such literals.
    """
    if old in _STRINGS:
        return old != "text" and new in _STRINGS
    if old in _NUMBERS or old == "boolean":
        return old in _NUMBERS - {"double precision"} and new in _NUMBERS
    return new not in _PREFERRED.get(old, ())


def accepts_calls(before: CatalogState, old: ObjectKey, after: CatalogState, new: ObjectKey) -> bool:
    """Return whether a routine takes the arguments of another one and returns the same."""
    same_name = old.identity.partition("(")[0] == new.identity.partition("(")[0]
    return same_name and Signature.of(after, new).accepts(Signature.of(before, old))


def check_overloads(context: StatementContext, last: CatalogState) -> Iterator[HazardFinding]:
    """Yield a finding for calls that another routine gets, or that are ambiguous or name lost arguments.

    Of two routines that fit, the one without defaults gets the call
    (https://www.postgresql.org/docs/current/typeconv-func.html).
    """
    for change in context.added:
        new, name = change.key, change.key.identity.partition("(")[0]
        if new.kind not in ROUTINES or new not in last or new in context.first:
            continue
        signature = Signature.of(context.after, new)
        for old in context.first:
            if old.kind not in ROUTINES or old == new or old.identity.partition("(")[0] != name:
                continue
            known = Signature.of(context.first, old)
            least = max(len(each.types) - each.optional for each in (signature, known))
            for count in range(least, min(len(signature.types) + 1, len(known.types))):
                if old in last and signature.types[:count] == known.types[:count]:
                    effect = (
                        "is not unique (42725)" if count < len(signature.types) else f"calls {new.identity}"
                    )
                    reason = f"a call of it with {count} arguments {effect}"
                    yield context.finding("CM030", Severity.ERROR, old.identity, reason)
                    break
            else:
                if old in last and signature.gets_untyped(known):
                    reason = f"a call with an untyped literal calls {new.identity} or is not unique (42725)"
                    yield context.finding("CM030", Severity.WARNING, old.identity, reason)


def check_argument_names(
    context: StatementContext, old: ObjectKey, last: CatalogState
) -> Iterator[HazardFinding]:
    """Yield a finding for a dropped routine if those that take its calls have other names of arguments."""
    candidates = [
        new for new in last if new.kind in ROUTINES and accepts_calls(context.before, old, last, new)
    ]
    known = Signature.of(context.before, old)
    if candidates and all(Signature.of(last, new).renames(known) for new in candidates):
        reason = "its arguments have other names: a call that names them fails (42883)"
        yield context.finding("CM030", Severity.WARNING, old.identity, reason)
