"""Quote and split SQL identifiers and literals.

An identity is the qualified name of an object as PostgreSQL prints it, with quotes only where needed; the
argument types of a routine follow in parentheses.
"""

import re
from collections.abc import Callable

IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
"""The pattern of one identifier."""

FIRST_OID = 16384
"""The lowest oid of user objects (FirstNormalObjectId in PostgreSQL's source)."""

_PART = re.compile(r'"(?:[^"]|"")*"|[^."(]+')
_BASE_NAME = re.compile(rf"(?:(?:{_PART.pattern})\.)*(?P<name>{_PART.pattern})(?:\(.*)?", re.DOTALL)
_NEEDS_NO_QUOTES = re.compile(r"[a-z_][a-z0-9_]*")
_LINE = re.compile(r'(?:"[^"]*"|[^"\n])+')
_LISTS = {"local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"}


def quote(name: str) -> str:
    """Return the name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_if_needed(name: str) -> str:
    """Return the name as an identifier, in quotes only if its characters need them."""
    return name if _NEEDS_NO_QUOTES.fullmatch(name) else quote(name)


def unquote(identifier: str) -> str:
    """Return the name of an identifier that PostgreSQL printed."""
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


def unquote_and_fold(identifier: str) -> str:
    """Return the name of an identifier in a statement: without quotes, it is folded to lower case."""
    return unquote(identifier) if identifier.startswith('"') else identifier.lower()


def literal(text: str) -> str:
    """Return the text as a string constant that is valid for both values of `standard_conforming_strings`."""
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


Constant = Callable[[str], str]
"""Returns how a statement has a text: `literal`, or `Parameters`."""


class Parameters:
    """Writes texts as the parameters of a prepared statement; `values` are their literals in that order."""

    def __init__(self) -> None:
        self.values: list[str] = []

    def __call__(self, text: str) -> str:
        """Return the parameter with the text as its value."""
        self.values.append(literal(text))
        return f"${len(self.values)}"


def setting_value(name: str, stored: str) -> str:
    """Return a value of pg_db_role_setting, in which any role may store any text, as constants for SET."""
    if name not in _LISTS:
        return literal(stored)
    return ", ".join(map(literal, split_list(stored))) or "''"


def split_list(text: str) -> list[str]:
    """Return the names in a list of identifiers, as settings have it."""
    return [unquote(item.strip()) for item in re.findall(r'"(?:[^"]|"")*"|[^,\s][^,]*', text)]


def split_identity(identity: str) -> tuple[str, ...]:
    """Return the identifiers of an identity, without a routine's arguments."""
    return tuple(_PART.findall(without_arguments(identity)))


def without_arguments(identity: str) -> str:
    """Return a routine's qualified name; any other identity as it is."""
    routine = re.match(rf"{IDENTIFIER}(?:\.{IDENTIFIER})*(?=\()", identity)
    return routine[0] if routine else identity


def base_name(identity: str) -> str:
    """Return the last identifier of an identity, without a routine's arguments."""
    match = _BASE_NAME.fullmatch(identity)
    return match["name"] if match else identity


def schema_of(identity: str) -> str:
    """Return the first identifier of an identity."""
    return split_identity(identity)[0]


def split_lines(text: str | None) -> list[str]:
    """Return the lines of a list of identifiers; quoted identifiers may contain line breaks."""
    return _LINE.findall(text or "")
