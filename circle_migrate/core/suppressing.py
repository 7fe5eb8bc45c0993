"""Suppressions: hazards that people have decided to live with, each with a reason and an end if it has one.

A comment in a revision file is `# circle: ignore[ID, ID] reason=TEXT until=DATE`; a line of the settings is
`ID[,ID] [[DATABASE@]PATTERN] [until DATE] # TEXT`. What is wrong with one is a hazard of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple

from circle_migrate.errors import UsageError

WITHOUT_REASON, UNUSED, EXPIRED = "CM080", "CM081", "CM082"
THEMSELVES = frozenset({WITHOUT_REASON, UNUSED, EXPIRED})
"""The hazards of suppressions themselves, which nothing suppresses."""

COMMENT = re.compile(r"#\s*circle:\s*ignore\b(?:\s*\[(?P<ids>[^\]]*)\])?(?P<rest>.*)")
_UNTIL = re.compile(r"(?:^|\s)until=(?P<until>\S*)")
_REASON = re.compile(r"(?:^|\s)reason=(?P<reason>.*)")
_LINE = re.compile(
    r"(?P<ids>[A-Za-z0-9]+(?:\s*,\s*[A-Za-z0-9]+)*)"
    r"(?:\s+(?:(?P<database>\w+)@)?(?P<pattern>(?!until\s)[^\s#]+))?"
    r"(?:\s+until\s+(?P<until>\S+))?\s*#\s*(?P<reason>\S.*)"
)


class Source(StrEnum):
    """Where a suppression was written."""

    COMMENT = "comment"
    REVISION = "revision"
    SETTINGS = "settings"
    BASELINE = "baseline"


class Place(NamedTuple):
    """What a hazard is about, as far as suppressions can tell it apart.

    `names` are the objects it names, `revision` is the id alone.
    """

    hazard: str
    database: str
    revision: str
    file: str | None
    line: int | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suppression:
    """One decision; `until` is the last day on which it holds.

    It holds for one `revision` (`database@id`) where it stands in its `file` and `line`, of that for the
    lines `span` where it is a comment; else for what `pattern` and `database` match. `function` is the
    revision's function that a comment stands in, empty outside of both.
    """

    hazards: tuple[str, ...]
    reason: str
    source: Source
    until: date | None = None
    revision: str | None = None
    file: str | None = None
    line: int | None = None
    span: tuple[int, int] | None = None
    function: str = ""
    pattern: str = "*"
    database: str | None = None

    def covers(self, place: Place) -> bool:
        """Whether it was written for this, expired or not."""
        if place.hazard not in self.hazards or place.hazard in THEMSELVES:
            return False
        if self.span is not None:
            first, last = self.span
            return place.file == self.file and place.line is not None and first <= place.line <= last
        if self.revision is not None:
            return self.revision == f"{place.database}@{place.revision}"
        if self.database not in (None, place.database):
            return False
        return self.pattern == "*" or any(
            fnmatchcase(name, self.pattern) for name in (*place.names, place.revision)
        )

    def has_ended(self, today: date) -> bool:
        """Whether its last day is over."""
        return self.until is not None and today > self.until


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a suppression, so that it hides nothing; one of the settings has no place."""

    hazard: str
    message: str
    revision: str | None
    file: str | None
    line: int | None


class Malformed(Exception):
    """A suppression that hides nothing: the id of the hazard that this is, and why."""

    def __init__(self, hazard: str, message: str) -> None:
        super().__init__(message)
        self.hazard = hazard
        self.message = message


class Decision(NamedTuple):
    """What a suppression says, wherever it stands."""

    hazards: tuple[str, ...]
    reason: str
    until: date | None


def decision(ids: str | None, text: str, known: Collection[str]) -> Decision:
    """What a comment says: the ids in its brackets, and the text after them. Raises `Malformed`."""
    hazards = _ids(ids or "")
    unknown = [each for each in hazards if each not in known]
    if not hazards:
        raise Malformed(UNUSED, "it names no hazard: # circle: ignore[ID] reason=...")
    if unknown:
        raise Malformed(UNUSED, f"there is no hazard {', '.join(unknown)}")
    reason, until = reasoned(text)
    return Decision(hazards, reason, until)


def reasoned(text: str, *, bare: bool = False) -> tuple[str, date | None]:
    """Reason and last day of `reason=TEXT until=DATE`; with `bare` the reason needs no name.

    Raises `Malformed`.
    """
    found = _UNTIL.search(text)
    rest = _UNTIL.sub("", text)
    match = _REASON.search(rest)
    reason = (rest if bare else match["reason"] if match else "").strip()
    if not reason:
        raise Malformed(WITHOUT_REASON, "it has no reason")
    return reason, _day(found["until"]) if found else None


def parse_line(text: str, databases: Collection[str], known: Collection[str]) -> Suppression:
    """A suppression of the settings. Raises `UsageError` for what is none, or without a reason."""
    match = _LINE.fullmatch(text.strip())
    hint = "write: CM012 main@public.parked until 2030-01-31 # why"
    if match is None:
        raise UsageError(f"{text!r} ignores nothing: it needs an id and, behind #, a reason", hint=hint)
    hazards = _ids(match["ids"])
    unknown = [each for each in hazards if each not in known]
    if unknown:
        raise UsageError(
            f"{text!r} names {', '.join(unknown)}, which is no hazard",
            hint="they are listed by `circle-migrate safety-check --list-rules`",
        )
    if match["database"] not in (None, *databases):
        raise UsageError(f"{text!r}: there is no database {match['database']}", hint=hint)
    try:
        until = _day(match["until"]) if match["until"] else None
    except Malformed as error:
        raise UsageError(f"{text!r}: {error.message}", hint=hint) from None
    return Suppression(
        hazards,
        match["reason"].strip(),
        Source.SETTINGS,
        until,
        pattern=match["pattern"] or "*",
        database=match["database"],
    )


def _ids(text: str) -> tuple[str, ...]:
    return tuple(each.strip().upper() for each in text.split(",") if each.strip())


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Malformed(EXPIRED, f"until={text} is no date: write 2030-01-31") from None
