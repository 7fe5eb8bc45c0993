"""The result of tracing a plan: what each statement did on a scratch database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from circle_migrate.postgres.catalog.snapshot import Change
from circle_migrate.postgres.server_errors import scratch_server_lacks
from circle_migrate.postgres.sql_text import mentions, own_name


class Lock(IntEnum):
    """Table lock modes, the weakest first, named as in pg_locks without the suffix `Lock`."""

    # https://www.postgresql.org/docs/current/explicit-locking.html
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
        """The mode as SQL writes it, such as ACCESS EXCLUSIVE."""
        return "".join(f" {letter}" if letter.isupper() else letter for letter in self.name).strip().upper()

    @property
    def blocks_writes(self) -> bool:
        """Whether other sessions cannot write rows while it is held."""
        return self >= Lock.Share

    @property
    def blocks_reads(self) -> bool:
        """Whether other sessions cannot read rows while it is held."""
        return self is Lock.AccessExclusive


class Task(StrEnum):
    """A kind of work whose duration grows with a table."""

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
    """Work on a relation, which is named with its schema.

    `sql` is the statement inside another one that writes the rows; `uncounted` if that may run more than
    once, or is not known; `by_row` if it runs for each row that the other statement writes.
    """

    task: Task
    relation: str
    sql: str = ""
    uncounted: bool = False
    by_row: bool = False


@dataclass(frozen=True, slots=True)
class TracedRelation:
    """A relation: `name` is quoted with its schema, `file` its data file, `visible` if `relname` finds it."""

    oid: int
    name: str
    relname: str
    kind: str
    file: int | None
    visible: bool

    @property
    def has_rows(self) -> bool:
        """Whether it stores rows, so that a new file means that they were rewritten."""
        return self.kind in "rm"


@dataclass(frozen=True, slots=True)
class XactState:
    """A transaction's lock modes, data files, scans, inserted rows by oid, and rows written into catalogs.

    `names` differs after a statement that may have changed a relation's name, file or visibility. Without a
    transaction, event triggers may exist.
    """

    modes: Mapping[int, frozenset[str]] = field(default_factory=dict)
    files: Mapping[int, int | None] = field(default_factory=dict)
    scans: Mapping[int, int] = field(default_factory=dict)
    inserted: Mapping[int, int] = field(default_factory=dict)
    catalog_writes: int = 0
    names: str = ""
    has_event_triggers: bool = True

    def strongest(self, names: Mapping[int, str]) -> dict[str, Lock]:
        """Return the strongest mode on each relation in `names`."""
        return {
            names[oid]: max(Lock[mode.removesuffix("Lock")] for mode in modes)
            for oid, modes in sorted(self.modes.items(), key=lambda item: names.get(item[0], ""))
            if oid in names
        }


@dataclass(frozen=True, slots=True)
class ServerError:
    """The error of a failed statement; `sqlstate` is empty if SQLAlchemy did not send it."""

    sqlstate: str
    message: str

    def __str__(self) -> str:
        return f"{self.message} (SQLSTATE {self.sqlstate})" if self.sqlstate else self.message

    @property
    def lacked(self) -> str | None:
        """What only the scratch server may lack, and what to do; None if it lacks nothing."""
        return scratch_server_lacks(self.message)


@dataclass(frozen=True, slots=True)
class TracedStatement:
    """A statement that ran.

    `segment` counts the segments of the plan from 1; `file` and `line` are the line of the revision file that
    sends it. `locks` are those that its transaction holds after it, `locks_before` those before it; both only
    on relations from before the plan, by name. `transactional` is false outside of transactions, `repeatable`
    true for helpers that first check whether a statement is needed. `read_by_code` is None unless the code
    gets its rows; else it has the deletions in the code that did not run. `replaced_names` has the new names
    of relations whose old name means another one after the statement.
    """

    database: str
    segment: int
    revision: str
    sql: str
    file: str | None = None
    line: int | None = None
    transactional: bool = True
    repeatable: bool = False
    read_by_code: str | None = None
    locks: Mapping[str, Lock] = field(default_factory=dict)
    locks_before: Mapping[str, Lock] = field(default_factory=dict)
    work: tuple[Work, ...] = ()
    validated_constraints: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    created_relations: frozenset[str] = frozenset()
    replaced_names: Mapping[str, str] = field(default_factory=dict)
    error: ServerError | None = None

    @property
    def qualified(self) -> str:
        """The revision as `database@id`."""
        return f"{self.database}@{self.revision}"

    @property
    def relations_in_text(self) -> list[str]:
        """The locked relations that the text names."""
        return [name for name in self.locks if mentions(self.sql, own_name(name))]

    @property
    def acquired(self) -> Mapping[str, Lock]:
        """The locks that the statement took, new or stronger than those its transaction held."""
        return {name: mode for name, mode in self.locks.items() if mode > self.locks_before.get(name, 0)}


@dataclass(frozen=True, slots=True)
class Trace:
    """The statements of a plan in the order in which they ran.

    `untraced` are the revisions that did not run, or not to their end, as `database@id`; not one that ends
    in a statement with an `error`. `notes` say why, and how the scratch database differs from the live one.
    `round_trip_issues` says how the downgrades of revisions do not restore the catalog, `render_differences`
    how rendered SQL differs from what ran.
    """

    statements: tuple[TracedStatement, ...]
    untraced: tuple[str, ...]
    scratch_major: int
    notes: tuple[str, ...] = ()
    round_trip_issues: Mapping[str, str] = field(default_factory=dict)
    render_differences: Mapping[str, str] = field(default_factory=dict)

    @property
    def incomplete(self) -> frozenset[str]:
        """The revisions that did not run to their end, failed ones too, as `database@id`."""
        return frozenset(self.untraced).union(
            statement.qualified for statement in self.statements if statement.error
        )
