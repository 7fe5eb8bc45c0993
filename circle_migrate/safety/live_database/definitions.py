"""Parse definitions as PostgreSQL prints them: names, lists, expressions, and the columns in expressions.

These are the outputs of `pg_get_indexdef`, `pg_get_constraintdef` and `format_type`
(src/backend/utils/adt/ruleutils.c). Any other shape raises `UnreadableError`.
"""

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
# Operator classes that order differently, with the equality of their type.
_SAME_EQUALITY = re.compile(r"(?:text|varchar|bpchar)_pattern_ops")


class UnreadableError(Exception):
    """A definition that cannot be parsed; the message, for people, says why."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, sign or space of a definition; `depth` counts the brackets around it."""

    kind: str
    text: str
    depth: int


@dataclass(frozen=True, slots=True)
class Uniqueness:
    """What an index makes unique in the rows that meet `predicate`; `operators` are those of an exclusion."""

    keys: tuple[str, ...]
    predicate: str | None = None
    nulls_distinct: bool = True
    operators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key: its columns, the referenced relation and columns, and whether it is MATCH FULL."""

    columns: tuple[str, ...]
    relation: str
    referenced: tuple[str, ...]
    full: bool


def tokenize(text: str) -> list[Token]:
    """Return all tokens; a bracket has the depth of its surroundings."""
    tokens: list[Token] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        if match[0] in _CLOSING:
            depth -= 1
        tokens.append(Token(str(match.lastgroup), match[0], depth))
        if match[0] in _OPENING:
            depth += 1
    return tokens


def without_spaces(tokens: list[Token]) -> list[Token]:
    """Return the tokens that are not white space."""
    return [token for token in tokens if token.kind != "space"]


def parse_uniqueness(definition: str) -> Uniqueness:
    """Parse a unique index, or a primary key, unique or exclusion constraint."""
    tokens = tokenize(definition)
    start = next((at for at, token in enumerate(tokens) if token.text == "(" and token.depth == 0), None)
    if start is None:
        raise UnreadableError("the definition has no columns")
    end = _closing(tokens, start)
    items = list(split_items(tokens[start + 1 : end - 1]))
    operators: tuple[str, ...] = ()
    if tokens[0].text.upper() == "EXCLUDE":
        pairs = list(map(_split_operator, items))
        items, operators = [item for item, _ in pairs], tuple(operator for _, operator in pairs)
    keywords = {token.text.upper() for token in tokens if token.kind == "name" and token.depth == 0}
    keys = tuple(map(_key, items))
    distinct = "DISTINCT" not in keywords
    return Uniqueness(keys, _predicate(tokens[end:]), nulls_distinct=distinct, operators=operators)


def parse_reference(definition: str) -> Reference:
    """Parse a FOREIGN KEY constraint."""
    tokens = tokenize(definition)
    lists = [at for at, token in enumerate(tokens) if token.text == "(" and token.depth == 0]
    keywords = [token.text.upper() for token in tokens]
    if len(lists) < 2 or "REFERENCES" not in keywords:
        raise UnreadableError("the definition is not a foreign key")
    relation = _text(tokens[keywords.index("REFERENCES") + 1 : lists[1]])
    columns, referenced = (
        tuple(map(_text, split_items(tokens[at + 1 : _closing(tokens, at) - 1]))) for at in lists[:2]
    )
    if any(len(tokenize(column)) > 1 for column in (*columns, *referenced)):
        raise UnreadableError("foreign keys with PERIOD are not checked")
    return Reference(columns, relation, referenced, full="MATCH FULL" in definition)


def parse_check(definition: str) -> str:
    """Return the condition of a CHECK constraint, with its brackets."""
    tokens = tokenize(definition)
    start = next((at for at, token in enumerate(tokens) if token.text == "("), None)
    if start is None:
        raise UnreadableError("the definition has no condition")
    return _text(tokens[start : _closing(tokens, start)])


def columns_in(expression: str) -> Iterator[str]:
    """Return the names in an expression that can be columns, as printed."""
    tokens = tokenize(expression)
    return (token.text for at, token in enumerate(tokens) if _may_be_column(tokens, at))


def replace_columns(expression: str, names: Mapping[str, str]) -> str:
    """Return the expression with other names for some of its columns."""
    tokens = tokenize(expression)
    return "".join(
        names.get(token.text, token.text) if _may_be_column(tokens, at) else token.text
        for at, token in enumerate(tokens)
    )


def _may_be_column(tokens: list[Token], at: int) -> bool:
    """Return whether a token is a name, but no function, no type and no part of a qualified name."""
    if tokens[at].kind != "name":
        return False
    before = next((token.text for token in reversed(tokens[:at]) if token.kind != "space"), "")
    after = next((token.text for token in tokens[at + 1 :] if token.kind != "space"), "")
    return before not in {".", "::", "COLLATE"} and after not in {"(", "."}


def split_items(tokens: list[Token], separators: str = ",") -> Iterator[list[Token]]:
    """Yield the items between separators that are not in brackets."""
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


def _closing(tokens: list[Token], start: int) -> int:
    """Return the index after the bracket that closes the one at `start`."""
    depth = tokens[start].depth
    for at in range(start + 1, len(tokens)):
        if tokens[at].depth == depth and tokens[at].text in _CLOSING:
            return at + 1
    raise UnreadableError("the definition has a bracket that is not closed")


def _key(item: list[Token]) -> str:
    """Return the expression of an index key with its collation, without operator class and order."""
    start = next(at for at, token in enumerate(item) if token.kind != "space")
    end = _expression_end(item, start)
    expression = _text(item[start:end])
    options = without_spaces(item[end:])
    if options and options[0].text.upper() == "COLLATE":
        length = 3 if len(options) > 2 and options[2].text == "." else 1
        expression += " COLLATE " + _text(options[1 : length + 1])
        options = options[length + 1 :]
    for token in options:
        keyword = token.text.upper()
        if keyword in {"WITHOUT", "OVERLAPS"}:
            raise UnreadableError("WITHOUT OVERLAPS is not checked")
        if keyword not in _ORDERING and not _SAME_EQUALITY.fullmatch(token.text):
            raise UnreadableError(f"the equality of operator class {token.text} is not known")
    return expression


def _expression_end(item: list[Token], start: int) -> int:
    """Return the index after the column, function call or bracketed expression at `start`."""
    if item[start].text == "(":
        return _closing(item, start)
    at = start + 1
    while at + 1 < len(item) and item[at].text == ".":
        at += 2
    return _closing(item, at) if at < len(item) and item[at].text == "(" else at


def _split_operator(item: list[Token]) -> tuple[list[Token], str]:
    """Split an item of an exclusion constraint, such as `room WITH =`."""
    depth = min(token.depth for token in item)
    at = max(i for i, token in enumerate(item) if token.text == "WITH" and token.depth == depth)
    return item[:at], _text(item[at + 1 :])


def _predicate(tokens: list[Token]) -> str | None:
    keywords = [token.text if token.depth == 0 else "" for token in tokens]
    if "WHERE" not in keywords:
        return None
    condition = tokens[keywords.index("WHERE") + 2 :]  # after the space
    return _text(condition[: _closing(condition, 0)] if condition[0].text == "(" else condition)


def _text(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens).strip()
