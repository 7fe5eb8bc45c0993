"""Ignore rules: differences people have decided to live with, each with its pattern and an end if it has one.

A rule is one line of text: `[DATABASE@][FIELD of ]KIND PATTERN[ until DATE][ # REASON]`. Kind and pattern are
matched like file names against what the output shows, `index public.tmp_*`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase

from circle_migrate.core.catalog import Change, Key, Op
from circle_migrate.errors import UsageError

_FORM = re.compile(
    r"(?:(?P<database>\w+)@)?(?:(?P<field>\w+) of )?(?P<pattern>[^\s#]+ .*?\S|[^\s#]+ \S)"
    r"(?:\s+until (?P<until>\S+))?(?:\s+#\s*(?P<reason>.*))?"
)


@dataclass(frozen=True, slots=True)
class Ignore:
    """One rule. `text` is what was written; `until` the last day on which it holds."""

    text: str
    pattern: str
    database: str | None = None
    field: str | None = None
    until: date | None = None
    reason: str | None = None

    def expired(self, today: date) -> bool:
        """Whether its last day has passed."""
        return self.until is not None and today > self.until

    def covers(self, database: str, key: Key) -> bool:
        """Whether it is about this object."""
        if self.database not in (None, database):
            return False
        # Types of arguments can end in [], which is no pattern to fnmatch.
        return self.pattern == str(key) or fnmatchcase(str(key), self.pattern)


def parse_ignore(text: str, databases: Collection[str]) -> Ignore:
    """A rule from its text. Raises `UsageError` where it has no known form."""
    match = _FORM.fullmatch(" ".join(text.split()))
    if match is None:
        raise UsageError(f"{text!r} is not an ignore rule", hint=_HINT)
    if match["database"] is not None and match["database"] not in databases:
        raise UsageError(
            f"the ignore rule {text!r} is about {match['database']!r}, which is no database",
            hint="databases: " + ", ".join(databases),
        )
    return Ignore(
        text=text,
        pattern=match["pattern"],
        database=match["database"],
        field=match["field"],
        until=_day(match["until"], text),
        reason=match["reason"] or None,
    )


_HINT = "write kind and pattern: 'index public.tmp_*', 'acl of table *', 'view * until 2030-12-31 # why'"


def _day(written: str | None, text: str) -> date | None:
    try:
        return None if written is None else date.fromisoformat(written)
    except ValueError:
        raise UsageError(
            f"the ignore rule {text!r} ends on {written!r}, which is no date", hint="write until YYYY-MM-DD"
        ) from None


def without_ignored(
    changes: Iterable[Change], database: str, rules: Iterable[Ignore]
) -> tuple[list[Change], dict[str, int]]:
    """The changes no rule hides, and how many each rule hid, in whole or a field of them."""
    counts: dict[str, int] = {}
    rules = tuple(rules)
    kept = []
    for change in changes:
        remaining: Change | None = change
        for rule in rules:
            if remaining is None:
                break
            if not rule.covers(database, change.key):
                continue
            less = _without(remaining, rule.field)
            if less is not remaining:
                counts[rule.text] = counts.get(rule.text, 0) + 1
            remaining = less
        if remaining is not None:
            kept.append(remaining)
    return kept, counts


def _without(change: Change, field: str | None) -> Change | None:
    """What remains of a change; None where nothing does. Of an object one side lacks no field is hidden."""
    if field is None:
        return None
    return without_fields(change, {field}) if change.op is Op.CHANGED else change


def without_fields(change: Change, names: Collection[str]) -> Change | None:
    """A changed object without these fields, None where no other differs; itself where it has none."""
    if not any(name in change.fields for name in names):
        return change
    fields = {name: sides for name, sides in change.fields.items() if name not in names}
    return replace(change, fields=fields) if fields else None
