"""Reading what PostgreSQL prints of definitions: names, lists, expressions, and names within expressions.

Only texts of `pg_get_indexdef`, `pg_get_constraintdef` and `format_type` are read here, whose shape is
PostgreSQL's own (src/backend/utils/adt/ruleutils.c). What is shaped otherwise raises `UnreadableError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<string>[EeBbXx]?'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*"|[^\W\d][\w$]*)|(?P<number>\d[\w.]*)"""
    r"""|(?P<space>\s+)|(?P<mark>::|.)""",
    re.DOTALL,
)
_OPENING, _CLOSING = frozenset("(["), frozenset(")]")

_ORDERING = frozenset({"ASC", "DESC", "NULLS", "FIRST", "LAST"})
# Operator classes whose equality is their type's own: they differ in how they order.
_SAME_EQUALITY = re.compile(r"(?:text|varchar|bpchar)_pattern_ops")


class UnreadableError(Exception):
    """A definition that is not of the shapes known here; the message is for people."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, sign or gap of a definition; `depth` counts the brackets around it."""

    kind: str
    text: str
    depth: int


@dataclass(frozen=True, slots=True)
class Uniqueness:
    """What an index or constraint wants to be unique, as expressions; `predicate` says in which rows."""

    keys: tuple[str, ...]
    predicate: str | None = None
    nulls_distinct: bool = True


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key: its columns, and what they refer to."""

    columns: tuple[str, ...]
    relation: str
    referred: tuple[str, ...]
    full: bool


def tokens(text: str) -> list[Token]:
    """All tokens; a bracket has the depth of what is around it."""
    tokens: list[Token] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        if match[0] in _CLOSING:
            depth -= 1
        tokens.append(Token(str(match.lastgroup), match[0], depth))
        if match[0] in _OPENING:
            depth += 1
    return tokens


def uniqueness(definition: str) -> Uniqueness:
    """What a unique index, or a primary key, unique or exclusion constraint, wants to be unique."""
    found = tokens(definition)
    start = next((at for at, token in enumerate(found) if token.text == "(" and token.depth == 0), None)
    if start is None:
        raise UnreadableError("its definition has no columns")
    end = _end(found, start)
    rest = found[end:]
    excludes = found[0].text.upper() == "EXCLUDE"
    keys = tuple(
        _key(_without_operator(each) if excludes else each) for each in listed(found[start + 1 : end - 1])
    )
    words = [token.text.upper() for token in found if token.kind == "name" and token.depth == 0]
    return Uniqueness(keys, _after_where(rest), nulls_distinct="DISTINCT" not in words)


def reference(definition: str) -> Reference:
    """What a FOREIGN KEY definition refers to."""
    found = tokens(definition)
    lists = [at for at, token in enumerate(found) if token.text == "(" and token.depth == 0]
    words = [token.text.upper() for token in found]
    if len(lists) < 2 or "REFERENCES" not in words:
        raise UnreadableError("its definition is no foreign key")
    target = _text(found[words.index("REFERENCES") + 1 : lists[1]])
    columns, referred = (
        tuple(_text(each) for each in listed(found[at + 1 : _end(found, at) - 1])) for at in lists[:2]
    )
    if any(len(tokens(each)) > 1 for each in (*columns, *referred)):
        raise UnreadableError("a foreign key over periods of time is not asked")
    return Reference(columns, target, referred, full="MATCH FULL" in definition)


def condition(definition: str) -> str:
    """The condition of a CHECK, in its brackets."""
    found = tokens(definition)
    start = next((at for at, token in enumerate(found) if token.text == "("), None)
    if start is None:
        raise UnreadableError("its definition has no condition")
    return _text(found[start : _end(found, start)])


def columns_in(expression: str) -> Iterator[str]:
    """The names in an expression that can be columns, as printed."""
    found = tokens(expression)
    return (token.text for at, token in enumerate(found) if _may_be_column(found, at))


def rewritten(expression: str, names: Mapping[str, str]) -> str:
    """The expression with other names for some of its columns."""
    found = tokens(expression)
    return "".join(
        names.get(token.text, token.text) if _may_be_column(found, at) else token.text
        for at, token in enumerate(found)
    )


def _may_be_column(tokens: list[Token], at: int) -> bool:
    """Whether a token is a name that is no function's, no type's and no part of a longer name."""
    if tokens[at].kind != "name":
        return False
    before = next((token.text for token in reversed(tokens[:at]) if token.kind != "space"), "")
    after = next((token.text for token in tokens[at + 1 :] if token.kind != "space"), "")
    return before not in {".", "::", "COLLATE"} and after not in {"(", "."}


def listed(tokens: list[Token], separators: str = ",") -> Iterator[list[Token]]:
    """Yield the items between separators that are in no brackets."""
    if not tokens:
        return
    depth = min(token.depth for token in tokens)
    item: list[Token] = []
    for token in tokens:
        if token.text in separators and token.depth == depth:
            yield item
            item = []
        else:
            item.append(token)
    yield item


def _end(tokens: list[Token], start: int) -> int:
    """Where what an opening bracket opens has been closed."""
    depth = tokens[start].depth
    for at in range(start + 1, len(tokens)):
        if tokens[at].depth == depth and tokens[at].text in _CLOSING:
            return at + 1
    raise UnreadableError("its definition has a bracket that is not closed")


def _key(item: list[Token]) -> str:
    """The expression of an index key with its collation, without operator class and order."""
    start = next(at for at, token in enumerate(item) if token.kind != "space")
    end = _head(item, start)
    expression = _text(item[start:end])
    rest = [token for token in item[end:] if token.kind != "space"]
    if rest and rest[0].text.upper() == "COLLATE":
        named = 3 if len(rest) > 2 and rest[2].text == "." else 1
        expression += " COLLATE " + _text(rest[1 : named + 1])
        rest = rest[named + 1 :]
    for token in rest:
        word = token.text.upper()
        if word in {"WITHOUT", "OVERLAPS"}:
            raise UnreadableError("ranges that must not overlap are not asked")
        if word not in _ORDERING and not _SAME_EQUALITY.fullmatch(token.text):
            raise UnreadableError(f"what its operator class {token.text} takes for equal is not known")
    return expression


def _head(item: list[Token], start: int) -> int:
    """Where the column, function call or bracketed expression that an item begins with ends."""
    if item[start].text == "(":
        return _end(item, start)
    at = start + 1
    while at + 1 < len(item) and item[at].text == ".":
        at += 2
    return _end(item, at) if at < len(item) and item[at].text == "(" else at


def _without_operator(item: list[Token]) -> list[Token]:
    """An item of an exclusion constraint without its ` WITH =`. Raises for other operators."""
    depth = min(token.depth for token in item)
    at = max(i for i, token in enumerate(item) if token.text == "WITH" and token.depth == depth)
    if _text(item[at + 1 :]) != "=":
        raise UnreadableError("rows that exclude each other by more than being equal are not asked")
    return item[:at]


def _after_where(rest: list[Token]) -> str | None:
    for at, token in enumerate(rest):
        if token.text == "WHERE" and token.depth == 0:
            following = rest[at + 1 :]
            start = next((i for i, each in enumerate(following) if each.kind != "space"), 0)
            if following[start].text == "(":
                return _text(following[start : _end(following, start)])
            return _text(following)
    return None


def _text(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens).strip()
