"""Ignore rules: accepted hazards or differences, optionally with a last day.

A rule is one line of text in one of two forms:

    HAZARD[, HAZARD] [[DATABASE@]PATTERN] [until DATE] # REASON
    [DATABASE@][FIELD of ]KIND PATTERN [until DATE] [# REASON]

The first ignores hazards of objects or revisions, the second differences of objects. Patterns match like
file names.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase

from circle_migrate.core.errors import UsageError

_END = r"(?: until (?P<until>\S+))?(?: # ?(?P<reason>.*))?"
_HAZARDS = re.compile(
    r"(?P<hazards>[^\W_]+(?: ?, ?[^\W_]+)*)(?: (?:(?P<database>\w+)@)?(?P<pattern>(?!until )[^\s#]+))?" + _END
)
_DIFFERENCES = re.compile(r"(?:(?P<database>\w+)@)?(?:(?P<field>\w+) of )?(?P<pattern>[^\s#]+ \S.*?)" + _END)
_HAZARDS_HINT = "write for example: CM012 main@public.parked until 2030-01-31 # why"
_DIFFERENCES_HINT = (
    "write a kind and a pattern: 'index public.tmp_*', 'acl of table *', 'view * until 2030-12-31 # why'"
)


class UnknownHazardError(UsageError):
    """A rule names no hazard, or a hazard that does not exist."""


class NoReasonError(UsageError):
    """A rule for hazards has no reason."""


class NoDateError(UsageError):
    """The last day of a rule is not a date."""


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """A rule for `hazards`, or differences (of one `field`); `until` is the last day on which it applies."""

    text: str
    pattern: str = "*"
    database: str | None = None
    hazards: tuple[str, ...] = ()
    field: str | None = None
    until: date | None = None
    reason: str = ""

    def __str__(self) -> str:
        return self.text

    def has_expired(self, today: date) -> bool:
        """Return whether the last day has passed."""
        return self.until is not None and today > self.until

    def matches(self, database: str, *names: str) -> bool:
        """Return whether the rule applies to an object of the database with one of these names."""
        # Argument types can end in [], which fnmatch does not match literally.
        return self.database in (None, database) and any(
            name == self.pattern or fnmatchcase(name, self.pattern) for name in names
        )


def parse_hazard_rule(text: str, databases: Collection[str], known: Collection[str] | None) -> IgnoreRule:
    """Parse a rule for hazards; ids are not checked if `known` is None. Raises `UsageError`."""
    match = _match(_HAZARDS, text, text.replace("#", " # ", 1), databases, _HAZARDS_HINT)
    rule = hazard_rule(text, match["hazards"], match["reason"] or "", match["until"], known)
    return replace(rule, pattern=match["pattern"] or "*", database=match["database"])


def parse_difference_rule(text: str, databases: Collection[str]) -> IgnoreRule:
    """Parse a rule for differences. Raises `UsageError`."""
    match = _match(_DIFFERENCES, text, text, databases, _DIFFERENCES_HINT)
    until = _parse_date(text, match["until"])
    return IgnoreRule(
        text, match["pattern"], match["database"], (), match["field"], until, match["reason"] or ""
    )


def hazard_rule(
    text: str, hazards: str, reason: str, until: str | None, known: Collection[str] | None
) -> IgnoreRule:
    """Return a rule for hazards from the parts of the text. Raises one of the three errors above."""
    ids = tuple(part.strip().upper() for part in hazards.split(",") if part.strip())
    unknown = [] if known is None else [hazard for hazard in ids if hazard not in known]
    if not ids:
        raise UnknownHazardError(f"the ignore rule {text!r} names no hazard", hint=_HAZARDS_HINT)
    if unknown:
        raise UnknownHazardError(
            f"the ignore rule {text!r} names {', '.join(unknown)}, which is no hazard",
            hint="list the hazards with `circle-migrate safety-check --list-rules`",
        )
    if not reason.strip():
        raise NoReasonError(f"the ignore rule {text!r} has no reason", hint=_HAZARDS_HINT)
    return IgnoreRule(text, hazards=ids, until=_parse_date(text, until), reason=reason.strip())


def _match(
    form: re.Pattern[str], text: str, normalized: str, databases: Collection[str], hint: str
) -> re.Match[str]:
    match = form.fullmatch(" ".join(normalized.split()))
    if match is None:
        raise UsageError(f"{text!r} is not an ignore rule", hint=hint)
    if match["database"] not in (None, *databases):
        raise UsageError(
            f"the ignore rule {text!r} names {match['database']!r}, which is no database",
            hint="databases: " + ", ".join(databases),
        )
    return match


def _parse_date(text: str, until: str | None) -> date | None:
    try:
        return None if until is None else date.fromisoformat(until)
    except ValueError:
        raise NoDateError(
            f"the ignore rule {text!r} ends on {until!r}, which is no date",
            hint="write the date as YYYY-MM-DD",
        ) from None
