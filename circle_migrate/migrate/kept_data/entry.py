"""Records of data that a downgrade kept, and the results of commands about them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from circle_migrate.core.result import Result


class KeptKind(StrEnum):
    """What an entry holds: a dropped table, rows, columns of rows, or the position of a sequence."""

    TABLE = "table"
    ROWS = "rows"
    COLUMNS = "columns"
    SEQUENCE = "sequence"


class KeptState(StrEnum):
    """The state of an entry. A RESTORED entry has its side table while rows of it could not be restored."""

    KEPT = "kept"
    RESTORED = "restored"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """The data that one step of one run removed from one table or sequence.

    `number` counts the entries of a database. `table` is the schema and name of the table or sequence. `side`
    is the name of the side table, empty for a sequence and after that table was dropped; `keys` and `columns`
    are its columns. `position` is the last value of a sequence. `restored` counts the restored rows,
    `missing` those whose row in the table no longer exists.
    """

    database: str
    number: int
    run: str
    revision: str
    kind: KeptKind
    table: tuple[str, str]
    side_table: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int
    created_at: datetime
    state: KeptState = KeptState.KEPT
    position: int | None = None
    restored: int | None = None
    missing: int | None = None

    @property
    def id(self) -> str:
        """Its id on the command line."""
        return f"{self.database}/{self.number}"

    @property
    def name(self) -> str:
        """The name of its table or sequence for messages."""
        return ".".join(self.table)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as the JSON output shows it."""
        return {
            "id": self.id,
            "database": self.database,
            "run": self.run,
            "revision": self.revision,
            "kind": str(self.kind),
            "object": self.name,
            "side_table": self.side_table or None,
            "keys": list(self.keys),
            "columns": list(self.columns),
            "rows": self.rows,
            "created_at": self.created_at.isoformat(),
            "state": str(self.state),
            "restored": self.restored,
            "missing": self.missing,
        }


@dataclass(frozen=True, slots=True)
class KeptRowCount:
    """The number of rows of a table that a run kept or restored; `missing` ones were not restored."""

    database: str
    revision: str
    table: str
    rows: int
    missing: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the count as the JSON output shows it."""
        return {
            "database": self.database,
            "revision": self.revision,
            "object": self.table,
            "rows": self.rows,
            "missing": self.missing,
        }


@dataclass(frozen=True, slots=True)
class KeptEntries(Result):
    """The result of `kept list`, `kept restore` and `kept drop`; `run` is the run in the journals."""

    entries: tuple[KeptEntry, ...]
    run: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the entries, oldest first in every database."""
        return {"run": self.run, "entries": [entry.to_dict() for entry in self.entries]}
