"""Texts and places as every format shows them. All text passes here on its way out, and so redaction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circle_migrate.core.redaction import redact

if TYPE_CHECKING:
    from circle_migrate.core.findings import Finding, Report

# Not allowed in XML 1.0, or commands to a terminal; from a server or a file name.
_CONTROL = "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]"


def safe(text: str) -> str:
    """The text without secrets, its lines ended by newlines, and with U+FFFD for what is no character."""
    return re.sub(_CONTROL, "\ufffd", redact(text).replace("\r\n", "\n"))


def visible(text: str) -> str:
    """The text in one line, without secrets, with escapes for what cannot be seen or moves a cursor.

    What looks the same and is not, a no-break space or a mark that turns the direction of writing, differs
    in its escape.
    """
    shown = redact(text)
    return "".join(each if each.isprintable() or each == "\t" else _escape(each) for each in shown)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def redacted(value: Any) -> Any:
    """The value with every string in it, however deep, without secrets."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redacted(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(each) for each in value]
    return value


def whole(finding: Finding) -> str:
    """All there is to say about a finding: message, detail and remedy, a paragraph each."""
    return safe("\n".join(text for text in (finding.message, finding.detail, finding.remedy_text) if text))


def summed_up(report: Report) -> str:
    """The report in one line of counts."""
    outcomes = [str(check.outcome) for check in report.checks]
    counts = [f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(sorted(outcomes))]
    return f"circle-migrate {report.command}: {', '.join(counts) or 'no checks'}, exit {report.exit_code}"


def path(report: Report, finding: Finding) -> str | None:
    """The finding's file, relative to the root of the report; None without one, or outside of the root."""
    return _relative(finding.file, report.root) if finding.file else None


def anchor(report: Report, finding: Finding) -> str:
    """A place for formats that want one for each finding: its file, its tree's folder, or `.`."""
    folder = report.folders.get(finding.database or "")
    return path(report, finding) or (_relative(folder, report.root) if folder else None) or "."


def line(report: Report, finding: Finding) -> int:
    """The line of the finding at its anchor, for formats that want one for each finding; from 1."""
    return (finding.line if path(report, finding) else None) or 1


def _relative(file: str, root: str) -> str | None:
    absolute = Path(file).absolute()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else None
