"""What a verdict says, and the evidence it is given on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from circle_migrate.core.catalog import Snapshot
from circle_migrate.core.hazards import HAZARDS, Hazard
from circle_migrate.core.live import Answer, Blocker, InvalidIndex, Published, Size
from circle_migrate.core.relations import Relation
from circle_migrate.core.traces import Trace

MEGABYTE = 1 << 20


class Level(StrEnum):
    """How bad it is.

    danger: the step fails on these rows, loses stored values, breaks statements of the release that is
    running, or works on a large table while others wait for one. warning: every row of a large table is
    written, something is dropped for good though no value is lost, two large tables are locked together, or
    what decides could not be found out. note: good to know.
    """

    DANGER = "danger"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Level).index(self)


class Confidence(StrEnum):
    """What a verdict rests on, the strongest first: live rows, a run on a scratch database, the text."""

    LIVE = "live"
    TRACED = "traced"
    STATIC = "static"

    @property
    def rank(self) -> int:
        """0 for the strongest."""
        return list(Confidence).index(self)


class Mode(StrEnum):
    """Whether the live databases could be asked; in CI nobody is, and tables count as large and filled."""

    LIVE = "live"
    CI = "ci"


@dataclass(frozen=True, slots=True)
class Limits:
    """From how many rows or bytes on (with its indexes) a table is large."""

    rows: int = 10_000
    bytes: int = 50 * MEGABYTE


NEVER = Limits(1 << 63, 1 << 63)
"""Of a table that is small, whatever its size."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is large; `tables` has limits for single ones: `schema.name` or `database@schema.name`."""

    limits: Limits = field(default_factory=Limits)
    tables: Mapping[str, Limits] = field(default_factory=dict)

    def of(self, database: str, relation: str) -> Limits:
        """The limits of one table."""
        return self.tables.get(f"{database}@{relation}") or self.tables.get(relation) or self.limits


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a plan; mappings are by database.

    `traced` is off where the statements were only rendered. `catalogues` are from before the plan.
    `answers` name statements by their place in the trace; `expected_rows` has how many rows the live planner
    expects a statement to write, by the same. `relations` are keys that two databases share; `secrets` is the
    database that secrets belong to.
    """

    trace: Trace
    sizes: Mapping[str, Mapping[str, Size]] = field(default_factory=dict)
    answers: Sequence[Answer] = ()
    blockers: Mapping[str, Sequence[Blocker]] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    mode: Mode = Mode.LIVE
    traced: bool = True
    catalogues: Mapping[str, Snapshot] = field(default_factory=dict)
    published: Mapping[str, Sequence[Published]] = field(default_factory=dict)
    invalid_indexes: Mapping[str, Sequence[InvalidIndex]] = field(default_factory=dict)
    expected_rows: Mapping[int, int] = field(default_factory=dict)
    relations: Sequence[Relation] = ()
    secrets: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One hazard of one statement, or of a revision that could not be traced.

    `place` is that of the statement in the trace, None for a revision as a whole; `statement` is shortened.
    `subject` is the object it is about, `relation` the table or view concerned, `lock` and `work` are words,
    empty where they play no part. `estimate` is how long the work takes, in seconds: a range, and a guess.
    `code` are revisions for this very statement, None where there is only the hazard's example.
    """

    hazard: str
    level: Level
    confidence: Confidence
    database: str
    revision: str
    subject: str
    why: str
    place: int | None = None
    statement: str = ""
    file: str | None = None
    line: int | None = None
    relation: str | None = None
    lock: str = ""
    work: str = ""
    size: Size | None = None
    estimate: tuple[float, float] | None = None
    code: str | None = None

    @property
    def record(self) -> Hazard:
        """The hazard itself: its title, class, effect and remedy."""
        return HAZARDS[self.hazard]

    @property
    def fix(self) -> str:
        """Revisions, as Alembic code, that reach the same end without the danger."""
        return self.record.fix if self.code is None else self.code
