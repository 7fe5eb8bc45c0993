"""Render `diff` (both sides, the differences by object, and what was compared) and `snapshot`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.cli.render.report import write_finding, write_hint
from circle_migrate.cli.render.widgets import Part, line, write_line
from circle_migrate.core.findings import Severity
from circle_migrate.diff import describe
from circle_migrate.diff.result import NEVER_COMPARED, Comparison, Difference, DiffResult, group_by_owner
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Op, Ownership

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.commands.snapshot import SnapshotResult

_MARKS = {Op.REMOVED: "-", Op.ADDED: "+", Op.CHANGED: "~"}
_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_BEFORE, _AFTER, _FAINT = "red", "green", "dim"
_SIGNS = {"-": _BEFORE, "+": _AFTER, "@": "magenta"}

_ITEM = 2
_FIELD = 6
_TEXT = 8
_MAX_LINES = 12
"""Lines of the definition of a missing or extra object; `--format patch` shows all."""


def diff_result(result: DiffResult, console: Console) -> None:
    """Write the comparisons, the findings that are no difference, and a summary of each database."""
    for comparison in result.comparisons:
        _comparison(comparison, console)
    subjects = {
        (comparison.database, str(difference.change.key))
        for comparison in result.comparisons
        for difference in comparison.differences
    }
    is_difference = [(finding.database, finding.subject) in subjects for finding in result.findings]
    findings = list(zip(result.findings, is_difference, strict=True))
    for hint in dict.fromkeys(finding.remedy_text for finding, shown in findings if shown):
        write_hint(hint, console, " " * _ITEM)
    for finding, shown in findings:
        if not shown:
            write_finding(finding, console)
    for check in result.checks:
        if check.skipped:
            write_line(console, f"{check.title}: skipped, {visible(check.skipped)}", style="yellow")
    for comparison in result.comparisons:
        line(console, 0, *_summary(comparison))
    for name in dict.fromkeys(error.database for error in result.comparison_errors if error.database):
        line(console, 0, (f"{name}: not compared", "red"))


def _comparison(comparison: Comparison, console: Console) -> None:
    before, after = describe.side_names(comparison)
    line(console, 0, (f"{comparison.database}: ", "bold"), (before, _BEFORE), (" -> ", ""), (after, _AFTER))
    for name, snapshot in ((before, comparison.before), (after, comparison.after)):
        line(console, _ITEM, (f"{name}: {describe.describe_version(snapshot)}", _FAINT))
    ownership = Ownership(comparison.before, comparison.after)
    groups = group_by_owner(comparison, ownership)
    for root, differences in groups.items():
        if root.kind in ownership.kinds:
            _heading(str(root), console)
            _group(root, differences, comparison, ownership, console)
    others = [root for root in groups if root.kind not in ownership.kinds]
    for kind, roots in groupby(others, key=lambda root: root.kind):
        _heading(describe.plural(kind), console)
        for root in roots:
            _group(root, groups[root], comparison, ownership, console)
    console.print("")
    for text in _notes(comparison):
        line(console, _ITEM, (text, _FAINT))


def _heading(text: str, console: Console) -> None:
    console.print("")
    line(console, 0, (text, "bold"))


def _group(
    root: ObjectKey, group: list[Difference], comparison: Comparison, ownership: Ownership, console: Console
) -> None:
    for difference in group:
        change = difference.change
        name = _name(change.key, root, ownership)
        changed = change.fields.items() if change.op is Op.CHANGED else ()
        fields = [describe.describe_field(field, values) for field, values in changed]
        in_line = len(fields) == 1 and fields[0].fits_in_line
        text = describe.headline(difference, name, comparison).strip()
        line(
            console,
            _ITEM,
            (f"{_MARKS[change.op]} {difference.severity:<7}  ", _STYLES[difference.severity]),
            (text, ""),
            *(((": " if text else ""), ""), *_field(fields[0])) if in_line else (),
            (f" ({difference.aspect})", _FAINT),
        )
        if change.op is not Op.CHANGED:
            _one_sided_object(difference, comparison, ownership, console)
        for field in () if in_line else fields:
            _changed_field(field, console)


def _name(key: ObjectKey, root: ObjectKey, ownership: Ownership) -> str:
    """Return an object's name below the heading of its root, or of its kind if it has no owner."""
    if key != root:
        return describe.relative_name(key, root)
    return key.kind if key.kind in ownership.kinds else key.identity


def _changed_field(field: describe.FieldDescription, console: Console) -> None:
    """Write both values of a field in one line, or long ones as a diff."""
    if field.fits_in_line:
        line(console, _FIELD, *_field(field))
        return
    line(console, _FIELD, (f"{field.label}:", ""))
    for text in describe.unified_diff(field.before, field.after):
        line(console, _TEXT, (text, _SIGNS.get(text[0], _FAINT)))


def _field(field: describe.FieldDescription) -> Iterator[Part]:
    for text, style in zip(field.parts, ("", _BEFORE, "", _AFTER), strict=False):
        yield text, _FAINT if style and text == describe.NO_VALUE else style


def _one_sided_object(
    difference: Difference, comparison: Comparison, ownership: Ownership, console: Console
) -> None:
    """Write the definition of an object that only one side has, and how many objects belong to it."""
    change = difference.change
    snapshot, style = (comparison.before, _BEFORE) if change.op is Op.REMOVED else (comparison.after, _AFTER)
    text = describe.describe_object(snapshot.objects.get(change.key, {}))
    definition = text.split("\n") if text else []
    for definition_line in definition[:_MAX_LINES]:
        line(console, _FIELD, (definition_line, style))
    if len(definition) > _MAX_LINES:
        line(console, _FIELD, (f"and {len(definition) - _MAX_LINES} more lines", _FAINT))
    owned = describe.count_kinds(
        key.kind for key in ownership.owned_objects(change.key) if key in snapshot.objects
    )
    partitions = sum(key in snapshot.objects for key in ownership.partitions(change.key))
    owned |= {"partition": partitions} if partitions else {}
    if owned:
        line(console, _FIELD, (f"with {describe.format_counts(owned)}", style))


def _notes(comparison: Comparison) -> Iterator[str]:
    if comparison.equivalent:
        counts = describe.count_kinds(change.key.kind for change in comparison.equivalent)
        yield f"equivalent: printed differently with the same meaning: {describe.format_counts(counts)}"
    for rule, count in comparison.ignored.items():
        yield f"ignored: {count} by {rule}"
    if comparison.pending:
        pending = describe.format_counts({"revision": comparison.pending})
        yield f"pending: {pending} not applied yet, which is no difference"


def _summary(comparison: Comparison) -> Iterator[Part]:
    yield (f"{comparison.database}: ", "bold")
    if comparison.differences:
        severities = [difference.severity for difference in comparison.differences]
        by_severity = {str(level): severities.count(level) for level in Severity if level in severities}
        count = describe.format_counts({"difference": len(severities)})
        yield (
            f"{count} ({describe.format_counts(by_severity)})",
            "red" if Severity.ERROR in severities else "yellow",
        )
    else:
        yield ("no differences", "green")
    yield (f"; compared: {describe.format_counts(comparison.compared) or 'nothing'}", "")
    unmodelled = describe.format_counts(comparison.unmodelled)
    unknown = [f"{unmodelled} (of unknown kind)"] if unmodelled else []
    yield (f"; not compared: {'; '.join([*comparison.not_compared, *unknown, NEVER_COMPARED])}", "")


def snapshot_result(result: SnapshotResult, console: Console) -> None:
    """Write a line for each file; or the snapshots, of one database as its file would have it."""
    from circle_migrate.core.envelope import inert_json
    from circle_migrate.diff.expected.snapshot_file import SnapshotFile, encode

    for name, file in result.files.items():
        snapshot = result.snapshots[name]
        count = describe.format_counts({"object": len(snapshot.objects)})
        write_line(console, f"{name}: {count} of {snapshot.origin} in {file}")
    if result.files:
        return
    texts = {
        name: inert_json(encode(SnapshotFile(snapshot), compress=False).decode())
        for name, snapshot in result.snapshots.items()
    }
    if len(texts) == 1:
        console.file.writelines(texts.values())
        return
    documents = {name: json.loads(text) for name, text in texts.items()}
    console.file.write(inert_json(json.dumps(documents, ensure_ascii=False, indent=1)) + "\n")
