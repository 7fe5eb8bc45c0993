"""What PostgreSQL did when a plan ran on a scratch database, statement by statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from circle_migrate.postgres.catalog.snapshot import Change


class Lock(IntEnum):
    """Table lock modes, the weakest first, as pg_locks spells them without `Lock`.

    The order is PostgreSQL's own (https://www.postgresql.org/docs/current/explicit-locking.html).
    """

    AccessShare = 1
    RowShare = 2
    RowExclusive = 3
    ShareUpdateExclusive = 4
    Share = 5
    ShareRowExclusive = 6
    Exclusive = 7
    AccessExclusive = 8

    @property
    def sql(self) -> str:
        """The mode as SQL writes it: ACCESS EXCLUSIVE."""
        return "".join(f" {letter}" if letter.isupper() else letter for letter in self.name).strip().upper()

    @property
    def blocks_writes(self) -> bool:
        """Whether rows cannot be inserted, updated or deleted by others while it is held."""
        return self >= Lock.Share

    @property
    def blocks_reads(self) -> bool:
        """Whether rows cannot even be read by others while it is held."""
        return self is Lock.AccessExclusive


class Task(StrEnum):
    """Work whose duration grows with a table."""

    REWRITE = "rewrite"
    SCAN = "scan"
    INDEX_BUILD = "index build"
    FK_VALIDATION = "foreign key validation"
    UPDATE = "update"
    DELETE = "delete"
    INSERT = "insert"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of such work; `relation` is named with its schema, `words` are the server's."""

    task: Task
    relation: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class ServerError:
    """Why a statement failed."""

    sqlstate: str
    message: str
    detail: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class TracedStatement:
    """One statement as it ran.

    `segment` counts the plan's transactions from 1; `revision` is the step it belongs to; `file` and `line`
    are the Python line of the revision that led to it. `locks` are those its transaction holds when it has
    run, `before` those it held already; both only on relations that existed before the plan began, by name.
    `changes` is what it did to the catalogue; `born` are relations that the plan itself has made by then.
    `transactional` is off for a statement outside of any transaction, `repeatable` on for one that is only
    sent where what it makes or drops is not so already.
    """

    database: str
    segment: int
    revision: str
    sql: str
    file: str | None = None
    line: int | None = None
    transactional: bool = True
    repeatable: bool = False
    locks: Mapping[str, Lock] = field(default_factory=dict)
    before: Mapping[str, Lock] = field(default_factory=dict)
    work: tuple[Work, ...] = ()
    validated_constraints: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    created_relations: frozenset[str] = frozenset()
    error: ServerError | None = None

    @property
    def acquired(self) -> Mapping[str, Lock]:
        """The locks it took, or took more strongly than its transaction had them."""
        return {name: mode for name, mode in self.locks.items() if mode > self.before.get(name, 0)}


@dataclass(frozen=True, slots=True)
class RevisionIssue:
    """A problem of a revision as a whole."""

    database: str
    revision: str
    reason: str


@dataclass(frozen=True, slots=True)
class Trace:
    """What a plan did on a scratch database, in the order in which it ran.

    `untraced` are the revisions of which nothing, or not the whole, is known, as `database@id`; `notes` say
    why, and in what the scratch database is not like the live one. A revision that ends in a statement with
    an `error` is not among them: what follows it is. `unreturned` are those that lead no way back,
    `unlike` those whose rendered SQL is another one.
    """

    statements: tuple[TracedStatement, ...]
    untraced: tuple[str, ...]
    scratch_major: int
    notes: tuple[str, ...] = ()
    round_trip_issues: tuple[RevisionIssue, ...] = ()
    render_differences: tuple[RevisionIssue, ...] = ()
