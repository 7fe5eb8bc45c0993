"""A diff as people read it: both sides, what differs by object, and what was compared at all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.cli.render.report import finding
from circle_migrate.cli.render.widgets import Part, line, write_line
from circle_migrate.core.findings import Severity
from circle_migrate.diff.describe import (
    NOTHING,
    FieldDescription,
    counted,
    describe_field,
    describe_object,
    headline,
    lines,
    place,
    plural,
    short,
    sides,
    tally,
)
from circle_migrate.diff.result import Comparison, Difference, DiffResult, Group, grouped
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Op, Ownership

if TYPE_CHECKING:
    from rich.console import Console

_MARKS = {Op.REMOVED: "-", Op.ADDED: "+", Op.CHANGED: "~"}
_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_BEFORE, _AFTER, _FAINT = "red", "green", "dim"
_SIGNS = {"-": _BEFORE, "+": _AFTER, "@": "magenta"}

_ITEM = 2
_FIELD = 6
_TEXT = 8
_MOST_LINES = 12
"""Of the definition of an object that one side lacks: `--format patch` shows all."""


def diff_result(result: DiffResult, console: Console) -> None:
    """Write every comparison, whatever else was found, and at last a line per database that sums it up."""
    for comparison in result.comparisons:
        _comparison(comparison, console)
    shown = _shown(result)
    stands_for = {found: (found.database, found.subject) in shown for found in result.findings}
    for advice in dict.fromkeys(found.remedy_text for found in result.findings if stands_for[found]):
        line(console, _ITEM, (f"hint   {advice}", ""))
    for found in result.findings:
        if not stands_for[found]:
            finding(found, console)
    for check in result.checks:
        if check.skipped:
            write_line(console, f"{check.title}: skipped, {visible(check.skipped)}", style="yellow")
    for comparison in result.comparisons:
        line(console, 0, *_summed_up(comparison))
    for name in dict.fromkeys(
        comparison_error.database
        for comparison_error in result.comparison_errors
        if comparison_error.database
    ):
        line(console, 0, (f"{name}: not compared", "red"))


def _comparison(comparison: Comparison, console: Console) -> None:
    before, after = sides(comparison)
    line(console, 0, (f"{comparison.database}: ", "bold"), (before, _BEFORE), (" -> ", ""), (after, _AFTER))
    for name, snapshot in ((before, comparison.before), (after, comparison.after)):
        line(console, _ITEM, (f"{name}: {place(snapshot)}", _FAINT))
    ownership = Ownership(comparison.before, comparison.after)
    groups = grouped(comparison, ownership)
    owning = [group for group in groups if group.root.kind in ownership.kinds]
    for group in owning:
        _heading(str(group.root), console)
        _group(group, comparison, ownership, console)
    alone = [group for group in groups if group not in owning]
    for kind, of_kind in groupby(alone, key=lambda group: group.root.kind):
        _heading(plural(kind), console)
        for group in of_kind:
            _group(group, comparison, ownership, console)
    console.print("")
    for text in _asides(comparison):
        line(console, _ITEM, (text, _FAINT))


def _heading(text: str, console: Console) -> None:
    console.print("")
    line(console, 0, (text, "bold"))


def _group(group: Group, comparison: Comparison, ownership: Ownership, console: Console) -> None:
    for difference in group.differences:
        change = difference.change
        name = _name(change.key, group.root, ownership)
        fields = (
            [describe_field(name, both) for name, both in change.fields.items()]
            if change.op is Op.CHANGED
            else []
        )
        in_line = len(fields) == 1 and fields[0].fits_in_line
        words = headline(difference, name, comparison).strip()
        line(
            console,
            _ITEM,
            *_lead(difference),
            (words, ""),
            *(((": " if words else ""), ""), *_field(fields[0])) if in_line else (),
            (f" ({difference.aspect})", _FAINT),
        )
        if change.op is not Op.CHANGED:
            _lacked(difference, comparison, ownership, console)
        for field in () if in_line else fields:
            _altered(field, console)


def _name(key: ObjectKey, root: ObjectKey, ownership: Ownership) -> str:
    """What an object is called below its heading: the root, or the kind of roots that stand alone."""
    if key != root:
        return short(key, root)
    return key.kind if key.kind in ownership.kinds else key.identity


def _lead(difference: Difference) -> Iterator[Part]:
    severity = difference.severity
    yield (f"{_MARKS[difference.change.op]} {severity:<7}  ", _STYLES[severity])


def _altered(field: FieldDescription, console: Console) -> None:
    """Write a field with both values: side by side, or one below the other where they are long."""
    if field.fits_in_line:
        line(console, _FIELD, *_field(field))
        return
    line(console, _FIELD, (f"{field.label}:", ""))
    for each in lines(field.before, field.after):
        line(console, _TEXT, (each, _SIGNS.get(each[0], _FAINT)))


def _field(field: FieldDescription) -> Iterator[Part]:
    for text, style in zip(field.pieces, ("", _BEFORE, "", _AFTER), strict=False):
        yield text, _FAINT if style and text == NOTHING else style


def _lacked(difference: Difference, comparison: Comparison, ownership: Ownership, console: Console) -> None:
    """Write what an object that one side lacks is like, and what belongs to it."""
    change = difference.change
    snapshot, style = (comparison.before, _BEFORE) if change.op is Op.REMOVED else (comparison.after, _AFTER)
    text = describe_object(snapshot.objects.get(change.key, {}))
    if text:
        shown = text.split("\n")
        for each in shown[:_MOST_LINES]:
            line(console, _FIELD, (each, style))
        if len(shown) > _MOST_LINES:
            line(console, _FIELD, (f"and {len(shown) - _MOST_LINES} lines more", _FAINT))
    owned = tally(key.kind for key in ownership.of(change.key) if key in snapshot.objects)
    partitions = sum(key in snapshot.objects for key in ownership.partitions(change.key))
    owned |= {"partition": partitions} if partitions else {}
    if owned:
        line(console, _FIELD, (f"with {counted(owned)}", style))


def _asides(comparison: Comparison) -> Iterator[str]:
    """What is no difference and still worth a line."""
    if comparison.equivalent:
        counts = tally(change.key.kind for change in comparison.equivalent)
        yield f"equivalent: printed differently, meaning the same: {counted(counts)}"
    for rule, count in comparison.ignored.items():
        yield f"ignored: {count} by {rule}"
    if comparison.pending:
        yield f"pending: {counted({'revision': comparison.pending})} not applied yet, which is no difference"


def _summed_up(comparison: Comparison) -> Iterator[Part]:
    yield (f"{comparison.database}: ", "bold")
    if comparison.differences:
        found_severities = [difference.severity for difference in comparison.differences]
        severities = {
            str(severity): found_severities.count(severity)
            for severity in Severity
            if severity in found_severities
        }
        found = counted({"difference": len(comparison.differences)})
        yield (f"{found} ({counted(severities)})", "red" if Severity.ERROR in severities else "yellow")
    else:
        yield ("no differences", "green")
    yield (f"; compared: {counted(comparison.compared) or 'nothing'}", "")
    unmodelled = counted(comparison.unmodelled)
    left_out = [*comparison.not_compared, *([f"{unmodelled} (of unknown kind)"] if unmodelled else [])]
    yield (f"; not compared: {'; '.join(left_out) or 'nothing'}", "")


def _shown(result: DiffResult) -> frozenset[tuple[str | None, str | None]]:
    """The databases and subjects of findings that differences stand for."""
    return frozenset(
        (comparison.database, str(difference.change.key))
        for comparison in result.comparisons
        for difference in comparison.differences
    )
