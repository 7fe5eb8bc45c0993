"""Sides of a comparison as command-line arguments: models, revisions, live database, snapshot file."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from circle_migrate.core.errors import UsageError

SNAPSHOT_SUFFIXES = (".json", ".json.gz")
CURRENT = "current"
"""The target for the current revisions of the database."""

_PLACEHOLDER = "{database}"


class Source(StrEnum):
    """The source of a side's snapshot."""

    MODELS = "models"
    REVISIONS = "revisions"
    LIVE = "live"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class ComparisonSide:
    """One side; `text` is the argument, `target` the revision of REVISIONS, None for the heads."""

    source: Source
    text: str
    target: str | None = None

    @property
    def is_relative(self) -> bool:
        """Whether it depends on the current revision: `revisions@current`, `revisions@-1`."""
        return self.target == CURRENT or (self.target or "").rpartition("@")[2].startswith(("+", "-"))

    @property
    def needs_live_database(self) -> bool:
        """Whether the live database must be read for it."""
        return self.source is Source.LIVE or self.is_relative

    @property
    def is_single_file(self) -> bool:
        """Whether it names one file, the snapshot of one database."""
        return _PLACEHOLDER not in self.text and not Path(self.text).expanduser().is_dir()

    def file(self, database: str) -> Path:
        """Return the snapshot file of a database; the text names a file, a folder, or contains {database}."""
        path = Path(self.text.replace(_PLACEHOLDER, database)).expanduser()
        if not path.is_dir():
            return path
        candidates = [path / f"{database}{suffix}" for suffix in SNAPSHOT_SUFFIXES]
        return next((candidate for candidate in candidates if candidate.exists()), candidates[0])


def parse_side(text: str) -> ComparisonSide:
    """Parse a side. Raises `UsageError` if it is neither a keyword nor a file."""
    source, at, target = text.strip().partition("@")
    if source in (Source.MODELS, Source.LIVE) and not at:
        return ComparisonSide(Source(source), text)
    if source == Source.REVISIONS and bool(target) == bool(at):
        return ComparisonSide(Source.REVISIONS, text, target or None)
    if text.endswith(SNAPSHOT_SUFFIXES) or "/" in text or Path(text).exists():
        return ComparisonSide(Source.FILE, text)
    raise UsageError(
        f'"{text}" is not a side of a comparison',
        hint="use models, revisions, revisions@REVISION, revisions@current, live, or a snapshot file",
    )


def parse_state(text: str) -> ComparisonSide:
    """Parse the source of a snapshot: live, models, revisions, or a target for revisions."""
    if text in (Source.MODELS, Source.LIVE) or text.partition("@")[0] == Source.REVISIONS:
        return parse_side(text)
    return ComparisonSide(Source.REVISIONS, f"{Source.REVISIONS}@{text}", text)


def parse_sides(texts: tuple[str, ...]) -> tuple[ComparisonSide, ComparisonSide]:
    """Parse FROM and TO: by default revisions@current and live. Raises `UsageError` if they are the same."""
    first, *rest = texts or (f"{Source.REVISIONS}@{CURRENT}",)
    before, after = parse_side(first), parse_side(rest[0] if rest else Source.LIVE)
    if before == after:
        raise UsageError(
            f"both sides are {before.text}", hint="name two different sides: circle-migrate diff FROM TO"
        )
    return before, after
