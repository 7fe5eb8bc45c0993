"""What people type for a side of a comparison: models, revisions, a live database, or a saved snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from circle_migrate.core.errors import UsageError

CURRENT = "current"
"""The target that means: at whatever revision the database is."""

_PLACEHOLDER = "{database}"
_SUFFIXES = (".json", ".json.gz")


class Source(StrEnum):
    """Where the snapshot of a side comes from."""

    MODELS = "models"
    REVISIONS = "revisions"
    LIVE = "live"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Side:
    """One side as typed; `target` belongs to REVISIONS and is None for their heads."""

    source: Source
    text: str
    target: str | None = None

    @property
    def is_relative(self) -> bool:
        """Whether it depends on where the database is: `revisions@current`, `revisions@-1`."""
        return self.target == CURRENT or (self.target or "").rpartition("@")[2].startswith(("+", "-"))

    @property
    def asks_the_database(self) -> bool:
        """Whether the live database has to be read for it."""
        return self.source is Source.LIVE or self.is_relative

    @property
    def holds_one(self) -> bool:
        """Whether it names one file, which is about one database."""
        return _PLACEHOLDER not in self.text and not Path(self.text).expanduser().is_dir()

    def file(self, database: str) -> Path:
        """The file with the snapshot of a database; FILE may be one, a folder, or contain {database}."""
        path = Path(self.text.replace(_PLACEHOLDER, database)).expanduser()
        if not path.is_dir():
            return path
        candidates = [path / f"{database}{suffix}" for suffix in _SUFFIXES]
        return next((candidate for candidate in candidates if candidate.exists()), candidates[0])


def parse_side(text: str) -> Side:
    """A side from its text. Raises `UsageError` where it is neither a known word nor a file."""
    word, at, target = text.strip().partition("@")
    if word in (Source.MODELS, Source.LIVE) and not at:
        return Side(Source(word), text)
    if word == Source.REVISIONS and bool(target) == bool(at):
        return Side(Source.REVISIONS, text, target or None)
    if text.endswith(_SUFFIXES) or "/" in text or Path(text).exists():
        return Side(Source.FILE, text)
    raise UsageError(
        f"{text!r} is nothing that can be compared",
        hint="write models, revisions, revisions@REVISION, revisions@current, live, or a snapshot file",
    )


def parse_state(text: str) -> Side:
    """What to take a snapshot of: live, models, revisions, or any target for revisions."""
    if text in (Source.MODELS, Source.LIVE) or text.partition("@")[0] == Source.REVISIONS:
        return parse_side(text)
    return Side(Source.REVISIONS, f"{Source.REVISIONS}@{text}", text)


def parse_sides(texts: tuple[str, ...]) -> tuple[Side, Side]:
    """Both sides, FROM and TO. None typed means drift; TO is the live database where it was not typed."""
    first, *rest = texts or (f"{Source.REVISIONS}@{CURRENT}",)
    before, after = parse_side(first), parse_side(rest[0] if rest else Source.LIVE)
    if before == after:
        raise UsageError(
            f"{before.text} would be compared with itself", hint="name two sides: circle-migrate diff FROM TO"
        )
    return before, after
