"""SQL statements with their clauses, and their comments in scripts and revisions."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey
from circle_migrate.postgres.identifier import base_name, literal, quote_if_needed, unquote

_OLD_SUFFIX = "__old"
_MAX_NAME_BYTES = 63
"""The length of an identifier in PostgreSQL (NAMEDATALEN - 1)."""


class _HazardText(Protocol):
    """The title of a hazard and its class, for example `data-loss`; `safety.hazards` has them."""

    @property
    def title(self) -> str: ...

    @property
    def kind(self) -> str: ...


HazardTexts = Mapping[str, _HazardText]
"""Hazards by id."""


class Verb(IntEnum):
    """The operations on an object, in their default order.

    DETACH removes a default or the ownership of a sequence, so that other objects can be dropped; ATTACH sets
    the ownership of a sequence. RENAME renames a type that is replaced, DROP_OLD drops it after no column
    uses it.
    """

    DETACH = 0
    DROP = 1
    RENAME = 2
    CREATE = 3
    ALTER = 4
    ATTACH = 5
    DROP_OLD = 6


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL command, without a semicolon.

    `hazards` are hazard ids. `transactional` is False if the statement, or a later one that uses its result,
    fails in the same transaction.
    """

    sql: str
    key: ObjectKey
    hazards: tuple[str, ...] = ()
    transactional: bool = True


def old_name(identity: str) -> str:
    """Return the temporary name of an object that is replaced."""
    length = _MAX_NAME_BYTES - len(_OLD_SUFFIX)
    prefix = unquote(base_name(identity)).encode()[:length].decode(errors="ignore")
    return quote_if_needed(prefix + _OLD_SUFFIX)


def unsupported_comment(text: str) -> str:
    """Return the comment about a difference that no statement removes."""
    return f"NOT EXPRESSED: {' '.join(text.split())}"


def hazard_comment(hazard: str, texts: HazardTexts) -> str:
    """Return the comment above a statement with a hazard."""
    return f"HAZARD: {hazard} {texts[hazard].title}"


ENABLED = {"origin": "ENABLE", "always": "ENABLE ALWAYS", "replica": "ENABLE REPLICA", "disabled": "DISABLE"}
"""SQL for the values of the field `enabled`."""

HIDDEN = "<hidden"
"""The beginning of the text for a secret, which is not in a snapshot."""


def split_field(text: str | None) -> list[str]:
    """Return the lines of a field that holds a list."""
    return text.split("\n") if text else []


def parse_options(text: str | None) -> dict[str, str]:
    """Return the `name=value` lines of a field; a line without `=` continues the value before it."""
    options: dict[str, str] = {}
    for line in split_field(text):
        name, equals, value = line.partition("=")
        if equals or not options:
            options[name] = value
        else:
            options[next(reversed(options))] += f"\n{line}"
    return options


def optional_clauses(fields: Fields, templates: Mapping[str, str]) -> list[str]:
    """Return a clause for each field that has a value, which replaces {0}, or {1} as a string literal."""
    return [
        template.format(value, literal(value))
        for name, template in templates.items()
        if (value := fields.get(name))
    ]


def comment_on(target: str, comment: str | None) -> str:
    """Return the COMMENT command of an object; None removes the comment."""
    return f"COMMENT ON {target} IS {'NULL' if comment is None else literal(comment)}"


def option_changes(
    head: str, before: str | None, after: str | None, *, foreign: bool = False
) -> Iterator[str]:
    """Yield the SET and RESET commands, or OPTIONS for foreign data, between two lists of options."""
    old, new = parse_options(before), parse_options(after)
    removed = [name for name in old if name not in new]
    changed = {
        name: value for name, value in new.items() if old.get(name) != value and not value.startswith(HIDDEN)
    }
    if foreign:
        actions = [f"DROP {quote_if_needed(name)}" for name in removed]
        actions += [
            f"{'SET' if name in old else 'ADD'} {quote_if_needed(name)} {literal(value)}"
            for name, value in changed.items()
        ]
        if actions:
            yield f"{head} OPTIONS ({', '.join(actions)})"
        return
    if removed:
        yield f"{head} RESET ({', '.join(removed)})"
    if changed:
        yield f"{head} SET ({_storage_parameters(changed)})"


def with_options(fields: Fields, *, foreign: bool = False) -> list[str]:
    """Return the clause WITH of a CREATE command, or OPTIONS for foreign data; none without options."""
    options = parse_options(fields.get("options")).items()
    values = {name: value for name, value in options if not value.startswith(HIDDEN)}
    if not foreign:
        return [f"WITH ({_storage_parameters(values)})"] if values else []
    texts = [f"{quote_if_needed(name)} {literal(value)}" for name, value in values.items()]
    return [f"OPTIONS ({', '.join(texts)})"] if texts else []


def _storage_parameters(values: dict[str, str]) -> str:
    plain = re.compile(r"[\w.]+")
    return ", ".join(
        f"{name}={value if plain.fullmatch(value) else literal(value)}" for name, value in values.items()
    )
