"""Texts and locations as the formats write them; all text passes through here, where secrets are removed."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.core.envelope import CONTROL, in_environment
from circle_migrate.core.redaction import redact

if TYPE_CHECKING:
    from circle_migrate.core.findings import Finding, Report

# What GitHub, Azure or TeamCity obeys: a line that begins with ::, perhaps after a wrap, and ##[ anywhere.
_GITHUB = r"(?:error|warning|notice|debug|group|endgroup|echo|add-|remove-|stop-|set-|save-)[\w-]*[\s:]"
_CI_COMMAND = re.compile(rf"(?m)^\s*:(?=:)|:(?=:{_GITHUB})|#(?=#\w*\[)")
inert = partial(_CI_COMMAND.sub, r"\g<0>\\")
"""Return a text with a backslash in each of these."""
# At the beginning of a line, SQL has casts, such as ::int.
_CI_COMMAND_IN_SQL = re.compile(rf"(?m)^(\s*):(?=:{_GITHUB})|#(?=#\w*\[)")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~@&!])")


def safe(text: str) -> str:
    """Return the text without secrets, with LF line ends and U+FFFD for control characters."""
    return re.sub(CONTROL, "\ufffd", redact(text).replace("\r\n", "\n"))


def replace_controls(text: str, mark: str) -> str:
    """Return statements with U+FFFD for what controls a terminal or CI, and then with a comment about it."""
    replaced = _CI_COMMAND_IN_SQL.sub("\\1\ufffd", re.sub(CONTROL, "\ufffd", text))
    if replaced == text:
        return text
    return (
        f"{mark}not exact: U+FFFD stands for control characters and the beginning of CI commands\n{replaced}"
    )


def visible(text: str) -> str:
    """Return the text in one line, without secrets and CI commands; escape what is not printable."""
    return _escape(redact(text))


def visible_lines(text: str) -> str:
    """Return the text as `visible` does, but with its line ends."""
    return "\n".join(map(_escape, redact(in_environment(text)).split("\n")))


def _escape(text: str) -> str:
    text = inert(text)
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character == "\t"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def markdown(text: str) -> str:
    """Return the text in one line, without secrets, with Markdown's special characters escaped."""
    return inert(_MARKDOWN.sub(r"\\\1", safe(in_environment(text)))).replace("\n", " ")


def full_text(finding: Finding) -> str:
    """Return the message, detail and remedy of a finding as paragraphs."""
    texts = (finding.message, finding.detail, finding.remedy_text)
    return safe(in_environment("\n".join(filter(None, texts))))


def summary_line(report: Report) -> str:
    """Return the number of checks by outcome, and the exit status."""
    outcomes = [str(check.outcome) for check in report.checks]
    counts = [f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes))]
    return f"circle-migrate {report.command}: {', '.join(counts) or 'no checks'}, exit {report.exit_code}"


def relative_path(report: Report, finding: Finding) -> str | None:
    """Return the finding's file relative to the report's root; None without a file below the root."""
    return _relative(finding.file, report.root) if finding.file else None


def display_path(report: Report, finding: Finding) -> str | None:
    """Return the finding's file, relative to the report's root if it is below it; None without a file."""
    return relative_path(report, finding) or finding.file


def anchor_path(report: Report, finding: Finding) -> str:
    """Return a path for formats that require one: the finding's file, its tree's folder, or `.`."""
    folder = report.folders.get(finding.database or "")
    return relative_path(report, finding) or (_relative(folder, report.root) if folder else None) or "."


def anchor_line(report: Report, finding: Finding) -> int:
    """Return the line at `anchor_path`, from 1."""
    return (finding.line if relative_path(report, finding) else None) or 1


def _relative(file: str, root: str) -> str | None:
    absolute = Path(file).absolute()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else None
