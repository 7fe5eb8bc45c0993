"""Identities taken apart: identifiers stay quoted as PostgreSQL printed them."""

from __future__ import annotations

import re

IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_PART = re.compile(r'"(?:[^"]|"")*"|[^."(]+')
_SIMPLE = re.compile(r"[a-z_][a-z0-9_$]*")
_NAMED_LINE = re.compile(r'(?:"[^"]*"|[^"\n])+')


def parts(identity: str) -> list[str]:
    """The identifiers of an identity without a routine's arguments."""
    return _PART.findall(without_arguments(identity))


def without_arguments(identity: str) -> str:
    """A routine's qualified name; anything else as it is."""
    found = re.match(rf"{IDENTIFIER}(?:\.{IDENTIFIER})*(?=\()", identity)
    return found[0] if found else identity


def last(identity: str) -> str:
    """The object's own name."""
    return parts(identity)[-1]


def schema_of(identity: str) -> str:
    """The schema an identity begins with."""
    return parts(identity)[0]


def bare(identifier: str) -> str:
    """An identifier without its quotes."""
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return identifier


def quoted(name: str) -> str:
    """A name as an identifier, in quotes only where it needs them for its characters."""
    return name if _SIMPLE.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL, whatever `standard_conforming_strings` says."""
    escaped = text.replace("'", "''")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in text else f"'{escaped}'"


def listed(text: str | None) -> list[str]:
    """The lines of a field that holds a list."""
    return text.split("\n") if text else []


def valued(text: str | None) -> dict[str, str]:
    """The lines of a field that holds `name=value`; one without `=` goes on with the value before it."""
    found: dict[str, str] = {}
    for line in listed(text):
        name, equals, value = line.partition("=")
        if equals or not found:
            found[name] = value
        else:
            found[next(reversed(found))] += f"\n{line}"
    return found


def listed_names(text: str | None) -> list[str]:
    """Likewise, where each line has identifiers: within quotes they may have line breaks."""
    return _NAMED_LINE.findall(text or "")
